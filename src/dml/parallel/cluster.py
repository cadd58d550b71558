"""Sites whose workers run on the hosts of a batch system's jobs: what Slurm and PBS have in common.

Such a site has two modes. Without the option ``jobs``, the scheduler runs inside a job, and starts workers
on all hosts of this job. With ``jobs=N``, it runs on a login node, and submits N jobs for its workers.
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel.address import address_of
from dml.parallel.affinity import affinity_for
from dml.parallel.sites import OptionTable, whole_number
from dml.ranks.launch import SHARDS

if TYPE_CHECKING:
    from parsl import Config
    from parsl.launchers.base import Launcher
    from parsl.providers.base import ExecutionProvider

HOST_OPTIONS: OptionTable = {
    "interface": ("", "network interface of the scheduler's host that the other hosts reach"),
    "address": ("", "IP address of the scheduler's host, instead of the interface"),
    "affinity": ("none", "cores of each accelerator or worker, as list:0-7:8-15, or none"),
    "worker_init": ("", "shell commands before the workers start, such as module load (PATH is set after)"),
    "tmpdir": ("/tmp", "TMPDIR of the workers: on the host, and short, because sockets are made there"),
    "stage": ("", "folder of each host's own disk, such as /tmp/data, to which data sets are copied once"),
    "log_root": ("", "folder for the workers' logs, instead of Parsl's folder under --out_dir"),
}
"""Options of the workers of a host."""

ACCELERATOR_OPTIONS: OptionTable = {
    "accelerators": ("", "accelerators of each host; 0: the workers use the CPU"),
    "accelerators_per_experiment": ("1", "accelerators of each experiment, which has a process for each"),
    "workers": ("", "workers of each host without accelerators; with them, there is one worker for each"),
}
"""Options of hosts whose accelerators the site file does not name."""

SHARING_OPTIONS: OptionTable = {
    "workers_per_accelerator": ("1", "experiments at a time on one accelerator"),
    "accelerators_per_experiment": ("1", "accelerators of each experiment, which has a process for each"),
}
"""Options of hosts whose accelerators the site file names."""

JOB_OPTIONS: OptionTable = {
    "jobs": ("", "submit so many jobs; if empty, the workers run in the job in which this is called"),
    "hosts": ("1", "hosts of each of these jobs"),
    "walltime": ("01:00:00", "time of each of these jobs, as HH:MM:SS"),
    "account": ("", "account or project that pays for these jobs"),
    "cores": ("", "cores that these jobs ask for on each host"),
    "memory": ("", "memory that these jobs ask for on each host [GB]"),
}
"""Options of the jobs that a scheduler on a login node submits."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Variables for workers on the CPU, each of which has a core of its own."""


@dataclass(frozen=True)
class HostWorkers:
    """The workers of each host.

    Args:
        count: their number.
        accelerators: the names of the accelerators of each worker; empty if the workers use the CPU.
        affinity: their cores, in Parsl's notation.
    """

    count: int
    accelerators: Sequence[str]
    affinity: str


def with_defaults(table: OptionTable, **defaults: str) -> OptionTable:
    """A table of options with other defaults for some of them."""
    unknown = defaults.keys() - table.keys()
    if unknown:
        raise ValueError(f"there is no option {', '.join(sorted(unknown))}")
    return {name: (defaults.get(name, default), text) for name, (default, text) in table.items()}


def submits(options: Mapping[str, str], table: OptionTable, job_options: OptionTable) -> bool:
    """Whether the scheduler submits jobs for its workers, rather than running inside one.

    Args:
        options: the values of all options.
        table: the options of the site, with their defaults.
        job_options: those of them that only jobs have that are submitted.

    Raises:
        InputError: no jobs are submitted, but an option for such jobs is given; or its value is wrong.
    """
    if options["jobs"]:
        for key in ("jobs", "hosts", *(key for key in ("cores", "memory") if options[key])):
            whole_number(options, key)
        if not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", options["walltime"]):
            given = f"walltime={options['walltime']}"
            raise InputError("site_options", given, "must be HH:MM:SS, as in 01:30:00")
        return True
    for key in job_options:
        if options[key] != table[key][0]:
            right = "is for the jobs that this command submits: add jobs=N; the options of the job in which "
            right += "this command runs are those of sbatch or qsub"
            raise InputError("site_options", f"{key}={options[key]}", right)
    return False


def host_workers(options: Mapping[str, str], accelerators: int, cores: int | None) -> HostWorkers:
    """The workers of each host: one per accelerator, or per group of them, or `workers` on the CPU.

    Args:
        options: with those of ``ACCELERATOR_OPTIONS``.
        accelerators: the accelerators of a host, if the option does not say.
        cores: the cores of a host, if they are known; without accelerators, each gets a worker.

    Raises:
        InputError: an option is wrong.
    """
    if options["accelerators"] not in ("", "0"):
        accelerators = whole_number(options, "accelerators")
    elif options["accelerators"] == "0":
        accelerators = 0
    if accelerators:
        if options["workers"]:
            right = "there is one worker for each of the accelerators: give accelerators=0 to use the CPU"
            raise InputError("site_options", f"workers={options['workers']}", right)
        return pinned([str(number) for number in range(accelerators)], options)
    if options["accelerators_per_experiment"] != "1":
        given = f"accelerators_per_experiment={options['accelerators_per_experiment']}"
        raise InputError("site_options", given, "needs the number of a host's accelerators: accelerators=N")
    if not options["workers"] and cores is None:
        right = "the number of workers of a host is not known: give workers=N, or accelerators=N"
        raise InputError("site_options", None, right)
    count = whole_number(options, "workers") if options["workers"] else cores or 1
    return HostWorkers(count, [], affinity_for(options["affinity"], count, 1))


def pinned(names: Sequence[str], options: Mapping[str, str], *, each: int = 1) -> HostWorkers:
    """Workers that have accelerators for themselves, or share one with others.

    Args:
        names: the accelerators of a host. With several workers on each, there is a name per worker: that of
            its accelerator again, or its own number if Parsl derives the accelerator from that.
        options: with the accelerators of each worker, and the cores of each accelerator.
        each: the number of workers on each accelerator.

    Raises:
        InputError: the options do not fit together.
    """
    together, accelerators = whole_number(options, "accelerators_per_experiment"), len(names) // each
    given = f"accelerators_per_experiment={together}"
    if each > 1 and together > 1:
        raise InputError("site_options", given, f"excludes workers_per_accelerator={each}")
    if accelerators % together:
        raise InputError("site_options", given, f"must divide the {accelerators} accelerators of a host")
    groups = [",".join(names[first : first + together]) for first in range(0, len(names), together)]
    return HostWorkers(
        len(groups), groups, affinity_for(options["affinity"], accelerators, each, together=together)
    )


def exports(options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The shell commands that set the workers' environment, after the user's own commands.

    Args:
        options: with those of ``HOST_OPTIONS``, and of ``ACCELERATOR_OPTIONS`` or ``SHARING_OPTIONS``.
        environment: further variables.
    """
    variables = {"TMPDIR": options["tmpdir"], **environment}
    if options["stage"]:
        variables["DML_STAGE"] = options["stage"]
    if options.get("accelerators_per_experiment", "1") != "1":
        variables[SHARDS] = options["accelerators_per_experiment"]
    # After the user's lines, because a module or an environment would put its own folder first.
    lines = [f'export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"']
    if there := os.environ.get("PYTHONPATH"):
        lines.append(f'[ -n "$PYTHONPATH" ] || export PYTHONPATH={shlex.quote(there)}')
    return "\n".join([*lines, *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())])


def inside(hosts: int, launcher: "Launcher", init: str) -> "ExecutionProvider":
    """Parsl's provider of workers on all hosts of the job in which this is called."""
    from parsl.providers import LocalProvider

    return LocalProvider(
        nodes_per_block=hosts, launcher=launcher, init_blocks=1, min_blocks=1, max_blocks=1, worker_init=init
    )


def config(
    label: str,
    options: Mapping[str, str],
    workers: HostWorkers,
    provider: "ExecutionProvider",
    *,
    one_host: bool,
) -> "Config":
    """The Parsl configuration of a site.

    Args:
        label: Parsl's name for the executor.
        options: with those of ``HOST_OPTIONS``.
        workers: the workers of each host.
        provider: gives the hosts.
        one_host: whether all workers are on this host.

    Raises:
        ValueError: this host has no address that the others reach.
    """
    from parsl import Config
    from parsl.executors import HighThroughputExecutor

    executor = HighThroughputExecutor(
        label=label,
        address=options["address"] or address_of(options["interface"], one_host=one_host),
        encrypted=True,
        available_accelerators=list(workers.accelerators),
        max_workers_per_node=workers.count,
        cores_per_worker=1e-3,  # With 1.0, Parsl would silently start at most one worker per core.
        cpu_affinity=workers.affinity,
        prefetch_capacity=0,
        heartbeat_period=15,
        heartbeat_threshold=120,
        worker_logdir_root=options["log_root"] or None,
        provider=provider,
    )
    # All jobs are submitted at the start; Parsl would end those whose workers are idle for a while.
    return Config(executors=[executor], strategy="none", strategy_period=1, initialize_logging=False)
