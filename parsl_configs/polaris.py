"""Polaris (ALCF): one worker for each of the 4 GPUs of a host, in this PBS job or in submitted ones.

These parts come from ALCF's Parsl page: the executor and the launcher with their arguments, 4
accelerators, the list of cores, which runs backwards because GPU 0 is next to the cores 24-31, the
heartbeats, and for submitted jobs ngpus=4, 32 cores and the file systems home:eagle. TMPDIR=/tmp is set
as on Aurora.

Everything else is inferred, and has NOT been run on the machine:

* The interface bond0 is that of Parsl's own example for this machine. The page gives no address, and
  without one Parsl asks a public web service for it.
* The page submits jobs through Parsl from a login node, as jobs=N does here. Without jobs, Parsl runs
  inside the job with the same launcher, as ALCF does on Aurora. This is better for long sweeps, because a
  login node allows few processes.
* Several workers per GPU (workers_per_accelerator). Parsl numbers the workers of a host from 0 to pool -
  1 and gives worker k the GPU k // (pool // GPUs of the host). So the names must number workers, and the
  pool must be a multiple of the GPUs that nvidia-smi lists; therefore the number of GPUs is not an
  option. MPS is not started here.
* Several GPUs per worker (accelerators_per_experiment). Parsl takes a name with a comma as it is.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.parallel import cluster, pbs
from dml.parallel.sites import whole_number

if TYPE_CHECKING:
    from parsl import Config

GPUS = 4
CORES_OF_GPUS = "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"

OPTIONS = cluster.with_defaults(
    pbs.MACHINE_OPTIONS,
    interface="bond0",
    affinity=CORES_OF_GPUS,
    queue="debug",
    cores="32",
    select="ngpus=4",
    scheduler_options="-l filesystems=home:eagle -l place=scatter",
)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this PBS job, or of the jobs that are to be submitted."""
    each = whole_number(options, "workers_per_accelerator")
    names = [str(worker) for worker in range(GPUS * each)]
    return pbs.config(
        "polaris",
        options,
        OPTIONS,
        cluster.pinned(names, options, each=each),
        mpiexec="mpiexec --cpu-bind none --depth=64 --ppn 1",
    )
