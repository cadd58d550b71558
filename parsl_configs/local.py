"""This machine alone: one worker per core and one thread per worker. No other machine can reach its sockets.

The tests use this site.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel.sites import whole_number

if TYPE_CHECKING:
    from parsl import Config

# The cores that this process may use, if the system can tell: a container or a batch job has only some.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

ONE_HOST = True
MOST_PER_CORE = 16

OPTIONS = {
    "workers": (str(CORES), "experiments at a time (default: the cores that this process may use)"),
}

# Each worker is a process on its own core, so a thread pool in each would only slow the others down.
ONE_THREAD = "\n".join(
    f"export {name}=1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this machine."""
    workers = whole_number(options, "workers")
    if workers > MOST_PER_CORE * CORES:
        most = f"must be at most {MOST_PER_CORE * CORES} on this machine ({MOST_PER_CORE} per core)"
        raise InputError("site_options", f"workers={workers}", most)

    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        encrypted=True,  # Other users of this machine can reach the loopback interface, too.
        max_workers_per_node=workers,
        cores_per_worker=1e-3,  # With 1.0, Parsl would silently start at most one worker per core.
        prefetch_capacity=0,  # Tasks are long, so none should wait in a busy manager.
        # An idle worker checks once per period that its manager is alive. The threshold must be longer than
        # the patience of dml.parallel.owner, as a manager that has lost the interchange kills busy workers.
        heartbeat_period=3,
        heartbeat_threshold=30,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=ONE_THREAD),
    )
    # The block lasts for the whole sweep. The short period only makes Parsl start it at once.
    return Config(
        executors=[executor],
        strategy="none",
        strategy_period=0.2,
        initialize_logging=False,
    )
