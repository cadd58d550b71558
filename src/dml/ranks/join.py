"""How processes find each other and become ranks of one experiment, and how they leave.

On one host they meet in a file of a folder that only their user can open, and talk over the loopback
interface. On several hosts they meet where a launcher says (MASTER_ADDR and MASTER_PORT).
"""

import contextlib
import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from dml.errors import InputError, LostRankError
from dml.ranks.ranks import ALONE, Ranks
from dml.ranks.seat import Seat

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

MEETING_S = 120.0
"""Seconds for all processes to come; importing torch takes long on a shared file system."""

WAITING = timedelta(days=7)
"""The longest time that a rank waits for another one that has not ended. A round may take hours; that a
process has ended is noticed by its connections, and does not wait for this."""

CALLS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PALS_APID", "SLURM_JOB_ID", "SLURM_STEP_ID")
"""Variables that together differ in each call of a launcher, and not among its processes."""

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
"""The name of the interface that no other host can reach."""


Join = Callable[[bool], AbstractContextManager[Ranks]]
"""(whether there is something to compute) -> the processes that compute it together."""


@contextmanager
def alone(missing: bool) -> Iterator[Ranks]:
    """This process by itself."""
    yield ALONE


@contextmanager
def joined(seat: Seat, accelerator: str, folder: Path | None = None) -> Iterator[Ranks]:
    """The ranks, within the block.

    Args:
        seat: which of them this process is.
        accelerator: the name of what models train on, which decides what carries tensors.
        folder: of the file in which they meet, which only their user can open; None for a launcher's ranks.

    Raises:
        InputError: the accelerator is not there, or processes on several hosts do not know where to meet.
        LostRankError: the others have not come.
    """
    import torch.distributed as dist

    from dml import accelerators
    from dml.ranks.group import Group

    device = accelerators.choose(accelerator, seat.place, seat.places, shown=seat.shown)
    if folder is None and seat.places == seat.size and "MASTER_ADDR" not in os.environ:
        folder = _common_folder()
    with _interface(LOOPBACK if seat.places == seat.size else None):
        try:
            dist.init_process_group(
                accelerators.TRANSPORTS[device.type],
                store=_store(seat, folder),
                rank=seat.rank,
                world_size=seat.size,
                timeout=WAITING,
            )
        except RuntimeError as error:
            raise LostRankError("the other processes of the experiment have not come") from error
    try:
        yield Group(seat)
    finally:
        # A process that ends on an error does not wait for the others to leave, too.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _store(seat: Seat, folder: Path | None) -> "Store":
    from torch.distributed import FileStore, TCPStore  # type: ignore[attr-defined]

    if folder is not None:
        store: Store = FileStore(str(folder / "meeting"), seat.size)
    else:
        address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
        if not address or not port.isdigit():
            right = "processes on several hosts need MASTER_ADDR and MASTER_PORT, where rank 0 listens"
            raise InputError("shards", seat.size, right)
        # torchrun has a store of its own there; otherwise rank 0 has it.
        own = seat.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        store = TCPStore(address, int(port), seat.size, own)
    store.set_timeout(timedelta(seconds=MEETING_S))
    return store


def _common_folder() -> Path:
    """The folder in which the processes of one launcher on this host meet, by what tells calls of it apart.

    Raises:
        InputError: there is something else in its place.
    """
    call = "-".join(os.environ[name] for name in CALLS if name in os.environ)
    if not call:
        launcher = psutil.Process(os.getppid())
        call = f"{launcher.pid}-{launcher.create_time():.2f}"
    digest = hashlib.sha256(f"{os.getuid()} {call}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"distributed_ml-ranks-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise InputError("shards", None, f"{folder} is not a folder that only you can open; remove it")
    return folder


@contextmanager
def _interface(name: str | None) -> Iterator[None]:
    """Makes gloo listen on one interface alone, while connections are made."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name
    try:
        yield
    finally:
        if name is not None:
            del os.environ["GLOO_SOCKET_IFNAME"]
            if before is not None:
                os.environ["GLOO_SOCKET_IFNAME"] = before


def launched(seat: Seat, accelerator: str) -> Join:
    """The ranks of a launcher, for the first of them.

    Args:
        seat: the seat of this process, whose rank is 0.
        accelerator: the name of what models train on.
    """

    @contextmanager
    def join(missing: bool) -> Iterator[Ranks]:
        with joined(seat, accelerator) as ranks:
            ranks.largest(int(missing))
            yield ranks

    return join


def quiet() -> None:
    """Leaves messages to rank 0, which would have the same ones."""
    logging.getLogger("dml").setLevel(logging.CRITICAL)
