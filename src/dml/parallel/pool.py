"""Parsl's worker pool, with workers that are forked from one process that has already imported torch.

Parsl starts every worker as a new Python process, which imports torch and everything else by itself: this
takes a second of a core and 170 MB per worker. Here one process imports it all while the pool connects, and
the workers are forked from that process, which uses no accelerator and computes nothing. A worker must be
pinned to an accelerator or to cores before it imports torch, so pinned workers are started as Parsl does it.

    python -m dml.parallel.pool [--pinned] process_worker_pool.py <its arguments>

In both forms the pool ends when the server of its shared objects is killed. Parsl would wait for it forever.
"""

import multiprocessing
import runpy
import sys
from collections.abc import Sequence
from multiprocessing import forkserver

from dml.parallel.parsl_private import end_with_shared_objects, start_workers_from
from dml.parallel.watch import beside_python

PINNED = "--pinned"


def main(command: Sequence[str]) -> None:
    """Runs Parsl's script in this process; its workers come from the fork server unless they are pinned.

    Args:
        command: ``--pinned`` or nothing, then the script and its arguments.
    """
    if command[0] == PINNED:
        command = command[1:]
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dml.parallel.preloaded"])
        forkserver.ensure_running()
        # This imports Parsl, so it must come after the fork server has started.
        start_workers_from(context)
    end_with_shared_objects()
    *_, script = beside_python(command[:1])
    sys.argv = [script, *command[1:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
