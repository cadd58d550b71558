"""Writes files so that nobody sees half of one: each is written under another name and then renamed."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dml.errors import InputError


@contextmanager
def beside(path: Path, *, one_writer: bool = False, sync: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; when the block ends, it replaces ``path`` at once.

    If the block fails, the temporary file is removed, and an old file at ``path`` is not changed.

    Args:
        path: the file to write.
        one_writer: whether nobody else writes this file at the same time (the writer holds a lock). The
            temporary name is then always the same, so that the next writer overwrites what a killed one left.
        sync: whether to wait until the file and its name are on the disk.

    Raises:
        OSError: the file cannot be renamed or flushed to the disk.
    """
    new = temporary(path, "" if one_writer else f".{socket.gethostname()}-{os.getpid()}")
    try:
        yield new
        if sync:
            _bring_to_disk(new)
        new.replace(path)
        if sync:
            _bring_to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def temporary(path: Path, writer: str = "") -> Path:
    """The path to which a file is written before it replaces the one at ``path``; a kill may leave it.

    Args:
        path: the file.
        writer: distinguishes several writers of the file.
    """
    # Keep the ending, by which some libraries choose the format.
    return path.with_name(f".{path.stem}{writer}.tmp{path.suffix}")


def _bring_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path, field: str = "out_dir") -> None:
    """Refuses a folder that cannot be written or created. It creates nothing.

    Args:
        folder: the folder, which need not exist.
        field: the name of the flag that gave it.

    Raises:
        InputError: the folder, or the nearest folder above it that exists, cannot be written.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(field, folder, f"{there} is a file; give a folder that can be written")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(field, folder, f"{there} cannot be written; give a folder that can")
