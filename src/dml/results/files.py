"""HDF5 files that are never seen half written: they are written elsewhere, flushed to disk, and renamed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from dml.errors import DamagedFileError, UnwritableFileError
from dml.files import FILE, beside, what_is_at

SCHEMA_VERSION = 1
"""The layout of result files, described in results/README.md. Readers know all layouts since 1."""

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
    # One process writes an experiment (it holds its lock), and readers see only whole files, so HDF5's own
    # locks, which some parallel file systems refuse, have nothing to protect.
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
    """Opens a file for reading; any error in the block counts as damage to the file.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is not an HDF5 file, or something that is read is missing or wrong.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if (found := what_is_at(path)) != FILE:
        raise DamagedFileError(f"{path} cannot be read (it {found}); it was not changed: move it away")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except Exception as error:  # HDF5 and numpy may raise anything for damaged bytes.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(
            f"{path} cannot be read ({reason}); it was not changed: move it away to compute it again, "
            "as --fresh does"
        ) from error


def put(group: h5py.Group, name: str, value: Any, **options: Any) -> None:
    """Writes one dataset, and makes the groups in its path."""
    group.create_dataset(name, data=value, **options)
