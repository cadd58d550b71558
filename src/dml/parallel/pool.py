"""Parsl's worker pool, with workers that are forked from one process that has already imported torch.

Parsl starts every worker as a new Python process, which imports torch and everything else by itself: this
takes a second of a core and 170 MB per worker. Here one process imports it all while the pool connects, and
the workers are forked from that process, which uses no accelerator and computes nothing.

    python -m dml.parallel.pool process_worker_pool.py <its arguments>
"""

import multiprocessing
import runpy
import sys
from collections.abc import Sequence
from multiprocessing import forkserver

from dml.parallel.parsl_private import start_workers_from
from dml.parallel.watch import beside_python


def main(command: Sequence[str]) -> None:
    """Runs Parsl's script in this process; its workers come from the fork server.

    Args:
        command: the script and its arguments.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dml.parallel.preloaded"])
    forkserver.ensure_running()

    # This imports Parsl, so it must come after the fork server has started.
    start_workers_from(context)
    *_, script = beside_python(command[:1])
    sys.argv = [script, *command[1:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
