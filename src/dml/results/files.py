"""HDF5 files that are never seen half written: they are written elsewhere, flushed to disk, and renamed."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from dml.errors import DamagedFileError, UnwritableFileError

OVERHEAD = 64 << 10
"""Bytes of an HDF5 file besides its arrays: names, attributes and the index of its parts."""


def write(path: Path, fill: Callable[[h5py.File], None], size: int = 0) -> None:
    """Writes a file, which replaces an old one at once. Nobody else may write it at the same time.

    Args:
        path: the path of the file.
        fill: writes the content into the open file.
        size: bytes of its arrays. This room is reserved first, because the HDF5 library crashes the process
            if the disk fills up during a write.

    Raises:
        UnwritableFileError: it cannot be written; an old file is still there.
    """
    beside = path.with_name(f".{path.name}.tmp")
    # One process writes an experiment (it holds its lock), and readers only see whole files, so HDF5's own
    # locks, which some parallel file systems refuse, have nothing to protect.
    try:
        with open(beside, "wb") as reserved:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(reserved.fileno(), 0, size + OVERHEAD)
        with h5py.File(beside, "w", locking=False) as file:
            fill(file)
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
        raise UnwritableFileError(f"{path} cannot be written ({reason})") from error


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where a table or picture is made before it replaces the old one; nothing is left there.

    The name is the process's own, as two calls may make one at a time.
    """
    made = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield made
        made.replace(path)
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)


@contextmanager
def read(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading; any error in the block counts as damage to the file.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is not an HDF5 file, or something that is read is missing or wrong.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(
            f"{path} cannot be read ({reason}); it was not changed: move it away to compute it again"
        ) from error


def put(group: h5py.Group, name: str, value: Any, **options: Any) -> None:
    """Writes one dataset, and makes the groups in its path."""
    group.create_dataset(name, data=value, **options)
