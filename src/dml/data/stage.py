"""Copies of data sets on a host's own disk, which its workers read instead of a shared file system."""

import fcntl
import os
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

from dml.data.catalogue import DATASETS
from dml.data.data_dir import not_fetched
from dml.data.kept import copy_folder, is_kept
from dml.errors import InputError

VARIABLE = "DML_STAGE"
"""The environment variable that names the folder of a host's copies; it may hold variables of the host."""

PATIENCE = 600.0
"""Seconds to wait for another process that copies; a data set of 180 MB takes a second of a usual disk."""


def stage(name: str, data_dir: Path, to: Path) -> Path:
    """Copies a data set that has been fetched, unless the same is there already.

    Any number of processes may call this at once: one copies, and the others wait, up to `PATIENCE` seconds.

    Args:
        name: a data set of the catalogue.
        data_dir: the folder of the data sets.
        to: the folder of the copies.

    Returns:
        The folder of the copy.

    Raises:
        InputError: the data set has not been fetched, the copy cannot be written, or another process has
            been copying it for too long.
    """
    source, copy = data_dir / name, to / name
    if not is_kept(source):
        raise not_fetched([name], data_dir)
    try:
        to.mkdir(parents=True, exist_ok=True)
        handle = os.open(to / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, name, to)
            if not _same(source, copy):
                copy_folder(source, copy)
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError("to", to, f"cannot be written ({error.strerror or error})") from None
    return copy


def _lock(handle: int, name: str, to: Path) -> None:
    """Waits for the lock of a copy, and notes in its file who holds it.

    Raises:
        InputError: another process holds it for too long.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                holder = os.pread(handle, 4096, 0).decode(errors="replace") or "another process is copying it"
                raise InputError("to", to, f"{holder}: end it, or give another folder") from None
            time.sleep(0.1)
        except OSError:
            return  # Without locks each process copies, which is only slow.
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = f"process {os.getpid()} on {socket.gethostname()} has been copying {name} there since {since}"
    os.ftruncate(handle, 0)
    os.pwrite(handle, holder.encode(), 0)


def nearest_data_dir(name: str, data_dir: Path) -> Path:
    """The folder from which this host reads a data set: that of its copies, or that of all hosts.

    If the environment variable ``DML_STAGE`` is set, the data set is copied there first. If it cannot be, a
    line on stderr says why, and the shared folder is used.

    Args:
        name: a data set, or the path of a folder of images, which is never copied.
        data_dir: the folder that all hosts share.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted or name not in DATASETS or not DATASETS[name].hub:
        return data_dir
    to = Path(os.path.expanduser(os.path.expandvars(wanted)))
    try:
        if "$" in str(to):
            raise InputError("stage", wanted, "holds a variable that this host does not have")
        stage(name, data_dir, to)
    except InputError as error:
        print(f"{name} is read from {data_dir}: {error}", file=sys.stderr, flush=True)
        return data_dir
    return to


def _same(source: Path, copy: Path) -> bool:
    try:
        return (source / "meta.json").read_bytes() == (copy / "meta.json").read_bytes()
    except OSError:
        return False
