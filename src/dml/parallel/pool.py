"""Parsl's worker pool, with workers that are forked from one process which has imported torch already.

Parsl starts every worker as a new Python, which then imports torch and all else on its own: a second of a
core and 170 MB each. Here one process imports it all while the pool connects, and the workers are forked from
it. It uses no accelerator itself, and computes nothing.

    python -m dml.parallel.pool process_worker_pool.py <its arguments>
"""

import multiprocessing
import runpy
import sys
from collections.abc import Sequence
from multiprocessing import forkserver

from dml.parallel.watch import beside_python


def main(command: Sequence[str]) -> None:
    """Runs the script as it would run itself.

    Args:
        command: the script, and its arguments.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dml.parallel.preloaded"])
    forkserver.ensure_running()

    import parsl.multiprocessing

    # The context that Parsl takes for its pool's processes; a script's name for it is bound when it is run.
    parsl.multiprocessing.SpawnContext = context  # type: ignore[assignment]
    *_, script = beside_python(command[:1])
    sys.argv = [script, *command[1:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
