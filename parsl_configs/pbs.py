"""A cluster with PBS: one worker per GPU of each host, or per core where there are no GPUs.

Two ways to use it, and a copy of this file with your own defaults makes both shorter:

* Inside a job. The workers run on all hosts of the job: --parsl_config pbs --site_options accelerators=4
* From a login node, which submits jobs for the workers:
  --parsl_config pbs --site_options jobs=4 cores=32 accelerators=4 select=ngpus=4 queue=gpu walltime=04:00:00

NOT run on a machine with PBS: the tests construct it, and run it with stand-ins for mpiexec and qsub.
Inferred: the flags of mpiexec, which are those of HPE's PALS (the option mpiexec replaces them), and that
hosts may be reached at the address of the first host's name. Jobs of Parsl run no login shell, so
/etc/profile is read before worker_init.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.parallel import cluster, pbs

if TYPE_CHECKING:
    from parsl import Config

# In your copy, give what is always the same, and leave out what is not: queue="gpu", select="ngpus=4", ...
OPTIONS = cluster.with_defaults(
    pbs.OPTIONS,
    accelerators="",  # of each host; if empty, none
    interface="",  # over which the hosts reach one another; if empty, the address of the host's name
    worker_init="",  # such as "module load cuda"
)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this PBS job, or of the jobs that are to be submitted."""
    return pbs.config("pbs", options, OPTIONS, mpiexec=options["mpiexec"])
