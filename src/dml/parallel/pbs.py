"""Parts of sites whose workers run on all hosts of the PBS job in which the scheduler itself runs.

The file of such a site names the accelerators and the cores next to each; the executor, the launcher and the
options, which all these sites share, are made here.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dml.parallel.affinity import affinity_for
from dml.parallel.sites import OptionTable, whole_number

if TYPE_CHECKING:
    from parsl import Config


def block_options(accelerator: str, *, interface: str, affinity: str) -> OptionTable:
    """The options that :func:`block` reads, as the beginning of a site's ``OPTIONS``.

    Args:
        accelerator: the word for an accelerator of the machine, such as GPU.
        interface: the network interface over which the hosts reach one another.
        affinity: the cores of each accelerator, as ``list:...``.
    """
    return {
        "workers_per_accelerator": ("1", f"experiments at a time on one {accelerator}"),
        "interface": (interface, "network interface of the first host that the others reach"),
        "address": ("", "IP address of the first host, instead of the interface"),
        "affinity": (affinity, f"cores of the worker of each {accelerator}, or none"),
        "worker_init": (
            "",
            "shell commands before the workers start, such as module load (PATH is set after)",
        ),
        "tmpdir": ("/tmp", "TMPDIR of the workers: on the host, and short, because sockets are made there"),
        "log_root": ("", "folder for the workers' logs, instead of Parsl's folder under --out_dir"),
    }


def block(
    label: str,
    options: Mapping[str, str],
    accelerators: Sequence[str],
    *,
    mpiexec: str,
    environment: Mapping[str, str] | None = None,
) -> "Config":
    """A Parsl configuration with one block: all hosts of this job, started by mpiexec.

    Args:
        label: Parsl's name for the executor.
        options: the options of :func:`block_options`, with the user's values.
        accelerators: the accelerator's name for each worker of a host; workers on the same one are adjacent.
        mpiexec: further flags of mpiexec.
        environment: variables to set for the workers, after the user's own commands.

    Raises:
        InputError: an option is wrong.
        ValueError: this is not a PBS job, or it has no such network interface.
        OSError: the job's list of hosts cannot be read.
    """
    each = whole_number(options, "workers_per_accelerator")
    affinity = affinity_for(options["affinity"], len(accelerators) // each, each)
    nodes = len(hosts())

    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import MpiExecLauncher
    from parsl.providers import LocalProvider

    exports = {"TMPDIR": options["tmpdir"], **(environment or {})}
    before_workers = [
        options["worker_init"],
        # After the user's lines, because a module or an environment would put its own folder first.
        f'export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"',
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
    ]
    executor = HighThroughputExecutor(
        label=label,
        address=options["address"] or address_of(options["interface"]),
        encrypted=True,
        available_accelerators=list(accelerators),
        max_workers_per_node=len(accelerators),
        cpu_affinity=affinity,
        prefetch_capacity=0,
        heartbeat_period=15,
        heartbeat_threshold=120,
        worker_logdir_root=options["log_root"] or None,
        provider=LocalProvider(
            nodes_per_block=nodes,
            launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides=mpiexec),
            init_blocks=1,
            min_blocks=1,
            max_blocks=1,
            worker_init="\n".join(before_workers),
        ),
    )
    # The hosts of a job do not change, so there is nothing to scale.
    return Config(executors=[executor], strategy="none", strategy_period=1, initialize_logging=False)


def hosts() -> list[str]:
    """The hosts of this PBS job, each once; the job's node file has a line per process.

    Raises:
        ValueError: this is not a PBS job.
        OSError: its node file cannot be read.
    """
    file = os.environ.get("PBS_NODEFILE")
    if not file:
        raise ValueError(
            "$PBS_NODEFILE is not set, so this is not a PBS job; qsub the site's bd_scheduler.pbs in "
            "scripts/, or use --parsl_config local on this machine"
        )
    found = list(dict.fromkeys(Path(file).read_text(encoding="utf-8").split()))
    if not found:
        raise ValueError(f"$PBS_NODEFILE {file} names no host")
    return found


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface of this host.

    Raises:
        ValueError: there is no such interface.
    """
    import psutil
    from parsl.addresses import address_by_interface

    try:
        return str(address_by_interface(interface))
    except OSError as error:
        there = ", ".join(psutil.net_if_addrs())
        raise ValueError(
            f"no network interface {interface} with an address (interfaces: {there}); "
            "give another with --site_options interface=NAME or address=IP"
        ) from error
