"""Copies of image data sets on a host's own disk, which its workers read instead of a shared file system."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from dml.data.catalogue import DATASETS
from dml.data.data_dir import not_fetched
from dml.data.images import copy_images, is_kept
from dml.errors import InputError

VARIABLE = "DML_STAGE"
"""The environment variable that names the folder of a host's copies; it may hold variables of the host."""


def stage(name: str, data_dir: Path, to: Path) -> Path:
    """Copies a data set that has been fetched, unless the same is there already.

    Any number of processes may call this at once: one copies, and the others wait.

    Args:
        name: a data set of the catalogue.
        data_dir: the folder of the data sets.
        to: the folder of the copies.

    Returns:
        The folder of the copy.

    Raises:
        InputError: the data set has not been fetched, or the copy cannot be written.
    """
    source, copy = data_dir / name, to / name
    if not is_kept(source):
        raise not_fetched([name], data_dir)
    try:
        to.mkdir(parents=True, exist_ok=True)
        handle = os.open(to / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with contextlib.suppress(OSError):  # Without locks each process would copy, which is only slow.
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not _same(source, copy):
                copy_images(source, copy)
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError("to", to, f"cannot be written ({error.strerror or error})") from None
    return copy


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
