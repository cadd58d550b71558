"""HDF5 files that are never seen half written: written beside, flushed to disk, renamed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from dml.errors import DamagedFileError, UnwritableFileError
from dml.files import beside

SCHEMA_VERSION = 1
"""The layout of result files, described in results/README.md. Readers know all layouts since 1."""

OVERHEAD = 64 << 10
"""Bytes of an HDF5 file besides its arrays: names, attributes, the index of its parts."""


def write(path: Path, fill: Callable[[h5py.File], None], size: int = 0) -> None:
    """Replaces a file at once by a new one.

    Args:
        path: of the file.
        fill: puts the content into the open file.
        size: bytes of its arrays. They are reserved first: if the disk fills up during a write, the HDF5
            library crashes the process.

    Raises:
        UnwritableFileError: it cannot be written; what was there is still there.
    """
    # Readers only see whole files, so HDF5's own locks, which some parallel file systems refuse, have nothing
    # to protect.
    try:
        with beside(path, one_writer=True, sync=True) as new:
            with open(new, "wb") as reserved:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(reserved.fileno(), 0, size + OVERHEAD)
            with h5py.File(new, "w", locking=False) as file:
                fill(file)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
        raise UnwritableFileError(f"{path} cannot be written ({reason})") from error


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
            f"{path} cannot be read ({reason}); it was left as it is: move it away to compute it again"
        ) from error


def put(group: h5py.Group, name: str, value: Any, **options: Any) -> None:
    """One dataset, with its folders."""
    group.create_dataset(name, data=value, **options)
