"""HDF5 files that are never seen half written: written beside, flushed to disk, renamed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from dml.errors import DamagedFileError


def write(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Replaces a file at once by a new one.

    Args:
        path: of the file.
        fill: puts the content into the open file.
    """
    beside = path.with_name(f".{path.name}.tmp")
    # One process writes an experiment (it holds its lock), and readers only see whole files, so HDF5's own
    # locks, which some parallel file systems refuse, have nothing to protect.
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
