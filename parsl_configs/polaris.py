"""Polaris (ALCF): all hosts of one PBS job, one worker for each of the 4 GPUs of a host.

Documented by ALCF (its Parsl page): the executor and the launcher with their arguments, 4 accelerators, the
list of cores, which runs backwards because GPU 0 sits by the cores 24-31, and the heartbeats. TMPDIR=/tmp
as on Aurora.

Inferred, and NOT run on the machine: everything else, that is
* The page submits the job through Parsl (PBSProProvider); here Parsl runs inside the job (LocalProvider),
  with the same launcher, as ALCF does on Aurora: a login node allows few processes.
* The interface bond0 stands in Parsl's own example of this machine. The page gives no address, and without
  one Parsl asks a public web service for it.
* Several workers on a GPU (workers_per_accelerator). Parsl numbers the workers of a host 0 .. pool-1 and
  gives worker k the GPU k // (pool // GPUs of the host), so names must count workers, and the pool must be
  a multiple of the GPUs that nvidia-smi lists: that is why the number of GPUs is no option. MPS is not
  started here.
"""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dml.parallel.sites import address_of, affinity_for, pbs_hosts, python_first, whole_number

if TYPE_CHECKING:
    from parsl import Config

GPUS = 4
CORES_OF_GPUS = "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"

OPTIONS = {
    "workers_per_accelerator": ("1", "experiments at a time on one GPU"),
    "interface": ("bond0", "network interface of the first host that the others reach"),
    "address": ("", "its IP address, in place of the interface"),
    "affinity": (CORES_OF_GPUS, "cores of each GPU's worker, or none"),
    "worker_init": ("", "shell commands before the workers start, as module load .. (then: this PATH first)"),
    "tmpdir": ("/tmp", "TMPDIR of the workers: on the host, and short, as sockets are made there"),
    "log_root": ("", "folder for the workers' logs, in place of Parsl's folder under --out_dir"),
}


def make_config(options: Mapping[str, str]) -> "Config":
    """The Parsl configuration of the PBS job in which this is called."""
    each = whole_number(options, "workers_per_accelerator")
    affinity = affinity_for(options["affinity"], GPUS, each)
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
    ]
    executor = HighThroughputExecutor(
        label="polaris",
        address=options["address"] or address_of(options["interface"]),
        encrypted=True,
        available_accelerators=GPUS * each,  # the names 0 .. pool-1: see above
        max_workers_per_node=GPUS * each,
        cpu_affinity=affinity,
        prefetch_capacity=0,
        heartbeat_period=15,
        heartbeat_threshold=120,
        worker_logdir_root=options["log_root"] or None,
        provider=LocalProvider(
            nodes_per_block=len(hosts),
            launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"),
            init_blocks=1,
            min_blocks=1,
            max_blocks=1,
            worker_init="\n".join(before_workers),
        ),
    )
    # The job's hosts are there from its start to its end: nothing to scale.
    return Config(executors=[executor], strategy="none", strategy_period=1, initialize_logging=False)
