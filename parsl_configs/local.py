"""This machine alone: one worker per core, one thread per worker, no socket that another machine could reach.

This site is run and tested with every change.
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

# Workers are processes. A thread pool in each of them would only make them wait for one another.
ONE_THREAD = "\n".join(
    f"export {name}=1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this machine."""
    workers = whole_number(options, "workers")
    if workers > MOST_PER_CORE * CORES:
        most = (
            f"at most {MOST_PER_CORE * CORES} here, {MOST_PER_CORE} per core; more would wait for one another"
        )
        raise InputError("site_options", f"workers={workers}", most)

    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        encrypted=True,  # other users of this machine can reach the loopback too
        max_workers_per_node=workers,
        cores_per_worker=1e-3,  # at 1.0 Parsl would silently start no more workers than there are cores
        prefetch_capacity=0,  # tasks are long, so none should wait in a busy manager
        # An idle worker checks once per period that its manager lives. The threshold must be longer than the
        # patience of dml.parallel.owner, as a manager that has lost the interchange kills busy workers hard.
        heartbeat_period=3,
        heartbeat_threshold=30,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=ONE_THREAD),
    )
    # The block is there for the whole sweep. The short period only makes Parsl start it at once.
    return Config(
        executors=[executor],
        strategy="none",
        strategy_period=0.2,
        initialize_logging=False,
    )
