"""Sites of clusters with Slurm: workers on the hosts of this job, or of jobs that are submitted."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel import cluster
from dml.parallel.sites import OptionTable, whole_number

if TYPE_CHECKING:
    from parsl import Config

JOB_OPTIONS: OptionTable = {
    **cluster.JOB_OPTIONS,
    "partition": ("", "partition of these jobs"),
    "exclusive": ("yes", "whether these jobs have whole hosts: yes or no"),
    "scheduler_options": ("", "further options of these jobs, as for sbatch: --qos=high --constraint=a100"),
}

OPTIONS: OptionTable = {**cluster.ACCELERATOR_OPTIONS, **cluster.HOST_OPTIONS, **JOB_OPTIONS}
"""The options of a site with Slurm."""

SRUN = (
    # --overlap: workers that are started again may overlap with the end of those before.
    "srun --overlap --nodes={hosts} --ntasks={hosts} --ntasks-per-node=1 --mem=0 --cpu-bind=none "
    "--kill-on-bad-exit=0 --wait=0 --label"
)
"""One command per host, which may use all of the job's cores and memory there."""


def config(
    label: str, options: Mapping[str, str], table: OptionTable, environment: Mapping[str, str] | None = None
) -> "Config":
    """The Parsl configuration of a cluster with Slurm.

    Args:
        label: Parsl's name for the executor.
        options: the options of the site, with the user's values.
        table: the ``OPTIONS`` of the site.
        environment: variables to set for the workers, after the user's own commands.

    Raises:
        InputError: an option is wrong.
        ValueError: this is not a Slurm job, and no jobs are to be submitted.
    """
    submits = cluster.submits(options, table, JOB_OPTIONS)
    if options["exclusive"] not in ("yes", "no"):
        raise InputError("site_options", f"exclusive={options['exclusive']}", "must be yes or no")
    if submits:
        hosts, gpus = whole_number(options, "hosts"), 0
        cores = int(options["cores"]) if options["cores"] else None
    else:
        hosts, gpus = _number("SLURM_JOB_NUM_NODES"), _number("SLURM_GPUS_ON_NODE", 0)
        cores = _number("SLURM_CPUS_ON_NODE", 1)
    workers = cluster.host_workers(options, gpus, cores)
    threads = {} if workers.accelerators else cluster.ONE_THREAD
    exports = cluster.exports(options, {**threads, **(environment or {})})
    init = f"{options['worker_init']}\n{exports}"

    from dml.parallel.launcher import OnEachHost

    launcher = OnEachHost(SRUN, exports)
    if not submits:
        provider = cluster.inside(hosts, launcher, init)
        return cluster.config(label, options, workers, provider, one_host=hosts == 1)

    from parsl.providers import SlurmProvider

    jobs = whole_number(options, "jobs")
    provider = SlurmProvider(
        partition=options["partition"] or None,
        account=options["account"] or None,
        nodes_per_block=hosts,
        cores_per_node=cores,
        mem_per_node=int(options["memory"]) if options["memory"] else None,
        gpus_per_node=_accelerators(workers) or None,
        exclusive=options["exclusive"] == "yes",
        walltime=options["walltime"],
        scheduler_options=f"#SBATCH {options['scheduler_options']}" if options["scheduler_options"] else "",
        worker_init=init,
        launcher=launcher,
        init_blocks=jobs,
        min_blocks=0,
        max_blocks=jobs,
        cmd_timeout=60,  # A busy controller answers late.
    )
    return cluster.config(label, options, workers, provider, one_host=False)


def _accelerators(workers: cluster.HostWorkers) -> int:
    return sum(len(names.split(",")) for names in workers.accelerators)


def _number(variable: str, absent: int | None = None) -> int:
    """A number that Slurm gives to the jobs.

    Raises:
        ValueError: this is not a Slurm job.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise ValueError(
            "$SLURM_JOB_ID is not set, so this is not a Slurm job; sbatch scripts/slurm/bd_scheduler.sbatch, "
            "or submit jobs from here with --site_options jobs=N"
        )
    return int(os.environ.get(variable) or absent or 0)
