"""Aurora (ALCF): one worker for each of the 12 GPU tiles of a host, in this PBS job or in submitted ones.

These parts come from ALCF's documentation (its Parsl page, written for Parsl 2025.1.13, and its page
about running jobs): the executor and the launcher with their arguments, the interface hsn0, the names 0.0
to 5.1 of the tiles, the list of cores, TMPDIR=/tmp, and for submitted jobs 208 cores and the file systems
home:flare. Since 2025-03-31 the cores 0 and 52, with their second threads 104 and 156, are reserved for
the system.

Everything else is inferred, and has NOT been run on the machine; the project has no numbers of an XPU
either:

* The hierarchy. `module load frameworks` sets FLAT, in which a tile is a device from 0 to 11. Under
  COMPOSITE, tiles have names such as 5.1. A mask with the names of the other hierarchy selects wrong
  tiles, so the names and the variable are set together here, after the module. COMPOSITE is the default
  because ALCF's Parsl page uses its names, and because ALCF knows of warnings that PyTorch prints about a
  mask under FLAT. A worker sees one `xpu:0` either way.
* Several workers per tile (workers_per_accelerator): the name is repeated in Parsl's list, and the cores
  are split evenly. The variable ZEX_NUMBER_OF_CCS, which worker_init can set, decides whether the workers
  run at the same time or alternate.
* Several tiles per worker (accelerators_per_experiment): their names are joined by commas.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel import cluster, pbs
from dml.parallel.sites import whole_number

if TYPE_CHECKING:
    from parsl import Config

GPUS, TILES = 6, 2
CORES_OF_TILES = (
    "list:1-8,105-112:9-16,113-120:17-24,121-128:25-32,129-136:33-40,137-144:41-48,145-152"
    ":53-60,157-164:61-68,165-172:69-76,173-180:77-84,181-188:85-92,189-196:93-100,197-204"
)
TILE_NAMES = {
    "COMPOSITE": [f"{gpu}.{tile}" for gpu in range(GPUS) for tile in range(TILES)],
    "FLAT": [f"{TILES * gpu + tile}" for gpu in range(GPUS) for tile in range(TILES)],
}

OPTIONS = {
    "hierarchy": ("COMPOSITE", "how tiles are named: COMPOSITE (0.0 to 5.1) or FLAT (0 to 11)"),
    **cluster.with_defaults(
        pbs.MACHINE_OPTIONS,
        interface="hsn0",
        affinity=CORES_OF_TILES,
        queue="debug",
        cores="208",
        scheduler_options="-l filesystems=home:flare -l place=scatter",
    ),
}


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of this PBS job, or of the jobs that are to be submitted."""
    hierarchy, each = options["hierarchy"], whole_number(options, "workers_per_accelerator")
    if hierarchy not in TILE_NAMES:
        raise InputError("site_options", f"hierarchy={hierarchy}", "must be COMPOSITE or FLAT")
    names = [name for name in TILE_NAMES[hierarchy] for _ in range(each)]
    return pbs.config(
        "aurora",
        options,
        OPTIONS,
        cluster.pinned(names, options, each=each),
        mpiexec="mpiexec --cpu-bind none --ppn 1",
        environment={"ZE_FLAT_DEVICE_HIERARCHY": hierarchy},
    )
