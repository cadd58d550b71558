"""HDF5 files that are never seen half written: written beside, flushed to disk, renamed."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from dml.errors import DamagedFileError, UnwritableFileError

OVERHEAD = 64 << 10
"""Bytes of an HDF5 file beside its arrays: names, attributes, the index of its parts."""


def write(path: Path, fill: Callable[[h5py.File], None], size: int = 0) -> None:
    """Replaces a file at once by a new one.

    Args:
        path: of the file.
        fill: puts the content into the open file.
        size: bytes of its arrays. Room for them is asked for first: the HDF5 library does not bear a disk
            that fills up under it, and takes the process along.

    Raises:
        UnwritableFileError: it cannot be written; what was there is still there.
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
    """An open file; whatever fails in reading it is told as damage to the file.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is no HDF5 file, or lacks what is read from it.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(
            f"{path} cannot be read ({reason}); it was left as it is: move it away to compute it anew"
        ) from error


def put(group: h5py.Group, name: str, value: Any, **options: Any) -> None:
    """One dataset, with its folders."""
    group.create_dataset(name, data=value, **options)
