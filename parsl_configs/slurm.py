"""A cluster with Slurm: one worker per GPU of each host, or per core where there are no GPUs.

Two ways to use it, and a copy of this file with your own defaults makes both shorter:

* Inside a job, by scripts/slurm/bd_scheduler.sbatch. The workers run on all hosts of the job, and the
  GPUs are those that the job asked for.
* From a login node, which submits jobs for the workers:
  --parsl_config slurm --site_options jobs=4 accelerators=4 partition=gpu account=PROJECT walltime=04:00:00

Slurm must be 20.11 or newer (srun --overlap). Both were run on a Slurm 22.05 of one machine, with two hosts
by name and GPUs that are no GPUs (tests/slurm). NOT run: real GPUs, hosts with a network interface of their
own, accounts, and cgroups. If a job has only some GPUs of a host, workers count them from 0, which needs
Slurm's ConstrainDevices; so ask for whole hosts if you are in doubt.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.parallel import cluster, slurm

if TYPE_CHECKING:
    from parsl import Config

# In your copy, give what is always the same, and leave out what is not: partition="gpu", interface="ib0", ...
OPTIONS = cluster.with_defaults(
    slurm.OPTIONS,
    accelerators="",  # of each host; if empty, those that the job asked for
    interface="",  # over which the hosts reach one another; if empty, the address of the host's name
    worker_init="",  # such as "module load cuda"
)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this Slurm job, or of the jobs that are to be submitted."""
    return slurm.config("slurm", options, OPTIONS)
