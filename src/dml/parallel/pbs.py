"""Sites of clusters with PBS: workers on the hosts of this job, or of jobs that are submitted."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel import cluster
from dml.parallel.sites import OptionTable, whole_number

if TYPE_CHECKING:
    from parsl import Config

JOB_OPTIONS: OptionTable = {
    **cluster.JOB_OPTIONS,
    "queue": ("", "queue of these jobs"),
    "select": ("", "further resources of each host, as in the select of qsub: ngpus=4:system=polaris"),
    "scheduler_options": (
        "-l place=scatter",
        "further options of these jobs, as for qsub: -l filesystems=home",
    ),
}

MACHINE_OPTIONS: OptionTable = {**cluster.SHARING_OPTIONS, **cluster.HOST_OPTIONS, **JOB_OPTIONS}
"""The options of a site with PBS whose file names the accelerators of a host."""

OPTIONS: OptionTable = {
    **cluster.ACCELERATOR_OPTIONS,
    **cluster.HOST_OPTIONS,
    **JOB_OPTIONS,
    "mpiexec": (
        "mpiexec --cpu-bind none --ppn 1",
        "command that starts one process per host, unbound; Open MPI: mpiexec --bind-to none --npernode 1",
    ),
}
"""The options of any other site with PBS."""

LOGIN = 'if [ -r /etc/profile ]; then . /etc/profile; fi\ncd "$PBS_O_WORKDIR"'
"""Commands of a submitted job, whose shell is no login shell, so that it has `module`."""


def config(
    label: str,
    options: Mapping[str, str],
    table: OptionTable,
    workers: cluster.HostWorkers | None = None,
    *,
    mpiexec: str,
    environment: Mapping[str, str] | None = None,
) -> "Config":
    """The Parsl configuration of a cluster with PBS.

    Args:
        label: Parsl's name for the executor.
        options: the options of the site, with the user's values.
        table: the ``OPTIONS`` of the site.
        workers: the workers of each host; otherwise the options say.
        mpiexec: the command that starts one process on each host, without the number of hosts and their file.
        environment: variables to set for the workers, after the user's own commands.

    Raises:
        InputError: an option is wrong.
        ValueError: this is not a PBS job, and no jobs are to be submitted; or this host has no address.
        OSError: the job's list of hosts cannot be read.
    """
    submits = cluster.submits(options, table, JOB_OPTIONS)
    if submits and not options["cores"]:
        raise InputError("site_options", None, "PBS needs the cores that jobs ask for: give cores=N")
    nodes = whole_number(options, "hosts") if submits else len(hosts())
    workers = workers or cluster.host_workers(options, 0, None if submits else _cores())
    threads = {} if workers.accelerators else cluster.ONE_THREAD
    exports = cluster.exports(options, {**threads, **(environment or {})})
    init = f"{options['worker_init']}\n{exports}"

    from dml.parallel.launcher import OnEachHost

    launcher = OnEachHost(f"{mpiexec} -n {{hosts}} --hostfile {{nodefile}}", exports)
    if not submits:
        provider = cluster.inside(nodes, launcher, init)
        return cluster.config(label, options, workers, provider, one_host=nodes == 1)

    from parsl.providers import PBSProProvider

    jobs = whole_number(options, "jobs")
    resources = [f"mem={options['memory']}gb"] if options["memory"] else []
    further = options["scheduler_options"]
    provider = PBSProProvider(
        account=options["account"] or None,
        queue=options["queue"] or None,
        nodes_per_block=nodes,
        cpus_per_node=int(options["cores"]),
        select_options=":".join([*resources, *([options["select"]] if options["select"] else [])]),
        scheduler_options=f"#PBS {further}" if further else "",
        walltime=options["walltime"],
        worker_init=f"{LOGIN}\n{init}",
        launcher=launcher,
        init_blocks=jobs,
        min_blocks=0,
        max_blocks=jobs,
    )
    return cluster.config(label, options, workers, provider, one_host=False)


def hosts() -> list[str]:
    """The hosts of this PBS job, each once; the job's node file has a line per process.

    Raises:
        ValueError: this is not a PBS job.
        OSError: its node file cannot be read.
    """
    file = os.environ.get("PBS_NODEFILE")
    if not file:
        raise ValueError(
            "$PBS_NODEFILE is not set, so this is not a PBS job; qsub a job script (docs/sites.md), "
            "submit jobs from here with --site_options jobs=N, or use --parsl_config local"
        )
    found = list(dict.fromkeys(Path(file).read_text(encoding="utf-8").split()))
    if not found:
        raise ValueError(f"$PBS_NODEFILE {file} names no host")
    return found


def _cores() -> int:
    """The cores of this host that the job may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
