"""Parsl's worker pool, with workers that are forked from one process that has already imported torch.

Parsl starts every worker as a new Python process, which imports torch and everything else by itself: this
takes a second of a core and 170 MB per worker. Here one process imports it all while the pool connects, and
the workers are forked from that process, which uses no accelerator and computes nothing. A worker must be
pinned to an accelerator or to cores before it imports torch, so pinned workers are started as Parsl does it.

    python -m dml.parallel.pool [options] process_worker_pool.py <its arguments>

In both forms the pool ends when the server of its shared objects or an idle worker is killed, and when its
workers fail at their start; Parsl would wait forever. It takes no more tasks, and ends, shortly before its
batch job ends.
"""

import argparse
import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from multiprocessing import forkserver
from pathlib import Path

from dml.parallel import failing_workers, time_left, walltime
from dml.parallel.limits import Limits
from dml.parallel.parsl_private import drain_after, end_with_shared_objects, logs_of, start_workers_from
from dml.parallel.watch import beside_python


def main(words: Sequence[str]) -> None:
    """Runs Parsl's script in this process; its workers come from the fork server unless they are pinned.

    Args:
        words: the options, then the script and its arguments.
    """
    parser = argparse.ArgumentParser("pool")
    parser.add_argument("--pinned", action="store_true", help="every worker is a new process")
    parser.add_argument("--failing", type=Path, required=True, help="file to say so if workers fail at start")
    parser.add_argument("--ends_at", type=float, required=True, help="the end of the scheduler's time")
    parser.add_argument("--of_job", required=True, help="the batch job of the scheduler")
    parser.add_argument("--margin", type=float, default=None, help="seconds before that end")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(words)
    limits = _limits(options.ends_at, options.of_job, options.margin)
    time_left.tell(limits)  # The workers inherit it, so it comes before the fork server.
    name, logs = logs_of(options.command, f"{socket.gethostname()}-{os.getpid()}")
    failing_workers.tell(options.failing, logs)
    if options.pinned:
        start_workers_from(failing_workers.SpawnedWorkers())
    else:
        multiprocessing.get_context("forkserver").set_forkserver_preload(["dml.parallel.preloaded"])
        forkserver.ensure_running()
        # This imports Parsl, so it must come after the fork server has started.
        start_workers_from(failing_workers.ForkedWorkers())
    end_with_shared_objects()
    *_, script = beside_python(options.command[:1])
    drain = drain_after(max(1.0, limits.drains_at - time.time())) if isfinite(limits.ends_at) else []
    sys.argv = [script, *options.command[1:], *name, *drain]
    runpy.run_path(script, run_name="__main__")


def _limits(ends_at: float, of_job: str, margin: float | None) -> Limits:
    """The time of this pool: that of the scheduler, or that of its own batch job if this ends earlier."""
    limits = Limits(ends_at=ends_at, margin=margin)
    if walltime.job() == of_job:
        return limits
    end = walltime.end_of_job()
    return limits if end is None else replace(limits, ends_at=min(end, ends_at))


if __name__ == "__main__":
    main(sys.argv[1:])
