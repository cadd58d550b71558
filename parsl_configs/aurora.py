"""Aurora (ALCF): all hosts of one PBS job, one worker for each of the 12 GPU tiles of a host.

Documented by ALCF (its Parsl page, written for Parsl 2025.1.13, and the page on running jobs): the executor
and the launcher with their arguments, the interface hsn0, the names 0.0 .. 5.1 of the tiles, the list of
cores, the cores 0 and 52 (with their second threads 104 and 156) left to the system since 2025-03-31,
TMPDIR=/tmp.

Inferred, and NOT run on the machine: everything else, that is
* Hierarchy. `module load frameworks` sets FLAT, in which a tile is a device 0 .. 11, while the names g.t
  are those of COMPOSITE; a mask in the other's language picks wrong tiles. So the names and the variable
  are set here together, after the module. COMPOSITE is the default because ALCF's Parsl page names tiles
  so, and because under FLAT ALCF knows of warnings that PyTorch prints for a mask. A worker sees one
  `xpu:0` either way.
* Several workers on a tile (workers_per_accelerator): a name repeated in Parsl's list, and cores split
  evenly. Whether they run beside or after one another is the driver's matter: ZEX_NUMBER_OF_CCS, through
  worker_init.
* That mpiexec hands this environment on to the ranks of the other hosts.
"""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.parallel.sites import address_of, affinity_for, pbs_hosts, python_first, whole_number

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
    "workers_per_accelerator": ("1", "experiments at a time on one tile; above 1 set ZEX_NUMBER_OF_CCS too"),
    "hierarchy": ("COMPOSITE", "how tiles are named: COMPOSITE (0.0 .. 5.1) or FLAT (0 .. 11)"),
    "interface": ("hsn0", "network interface of the first host that the others reach"),
    "address": ("", "its IP address, in place of the interface"),
    "affinity": (CORES_OF_TILES, "cores of each tile's worker, or none"),
    "worker_init": ("", "shell commands before the workers start, as module load .. (then: this PATH first)"),
    "tmpdir": ("/tmp", "TMPDIR of the workers: on the host, and short, as sockets are made there"),
    "log_root": ("", "folder for the workers' logs, in place of Parsl's folder under --out_dir"),
}


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of the PBS job in which this is called."""
    hierarchy, each = options["hierarchy"], whole_number(options, "workers_per_accelerator")
    if hierarchy not in TILE_NAMES:
        raise InputError("site_options", f"hierarchy={hierarchy}", "must be COMPOSITE or FLAT")
    tiles = [name for name in TILE_NAMES[hierarchy] for _ in range(each)]
    affinity = affinity_for(options["affinity"], GPUS * TILES, each)
    hosts = pbs_hosts()

    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import MpiExecLauncher
    from parsl.providers import LocalProvider

    before_workers = [
        options["worker_init"],
        # After the user's lines, as a module or an environment would put its own first.
        python_first(),
        f"export TMPDIR={shlex.quote(options['tmpdir'])}",
        f"export ZE_FLAT_DEVICE_HIERARCHY={hierarchy}",
    ]
    executor = HighThroughputExecutor(
        label="aurora",
        address=options["address"] or address_of(options["interface"]),
        encrypted=True,
        available_accelerators=tiles,
        max_workers_per_node=len(tiles),
        cpu_affinity=affinity,
        prefetch_capacity=0,
        heartbeat_period=15,
        heartbeat_threshold=120,
        worker_logdir_root=options["log_root"] or None,
        provider=LocalProvider(
            nodes_per_block=len(hosts),
            launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--ppn 1"),
            init_blocks=1,
            min_blocks=1,
            max_blocks=1,
            worker_init="\n".join(before_workers),
        ),
    )
    # The job's hosts are there from its start to its end: nothing to scale.
    return Config(executors=[executor], strategy="none", strategy_period=1, initialize_logging=False)
