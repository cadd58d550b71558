"""Polaris (ALCF): all hosts of one PBS job, one worker for each of the 4 GPUs of a host.

These parts come from ALCF's Parsl page: the executor and the launcher with their arguments, 4 accelerators,
the list of cores, which runs backwards because GPU 0 is next to the cores 24-31, and the heartbeats.
TMPDIR=/tmp is set as on Aurora.

Everything else is inferred, and has NOT been run on the machine:

* The page submits the job through Parsl (PBSProProvider). Here Parsl runs inside the job (LocalProvider) with
  the same launcher, as ALCF does on Aurora, because a login node allows few processes.
* The interface bond0 is that of Parsl's own example for this machine. The page gives no address, and without
  one Parsl asks a public web service for it.
* Several workers per GPU (workers_per_accelerator). Parsl numbers the workers of a host from 0 to pool - 1
  and gives worker k the GPU k // (pool // GPUs of the host). So the names must number workers, and the pool
  must be a multiple of the GPUs that nvidia-smi lists; therefore the number of GPUs is not an option. MPS is
  not started here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.parallel import pbs
from dml.parallel.sites import whole_number

if TYPE_CHECKING:
    from parsl import Config

GPUS = 4
CORES_OF_GPUS = "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"

OPTIONS = pbs.block_options("GPU", interface="bond0", affinity=CORES_OF_GPUS)


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of the PBS job in which this is called."""
    pool = GPUS * whole_number(options, "workers_per_accelerator")
    return pbs.block(
        "polaris",
        options,
        accelerators=[str(worker) for worker in range(pool)],
        mpiexec="--depth=64 --ppn 1",
    )
