"""Files that are never seen half written: they are written beside their place and then renamed."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dml.errors import InputError


@contextmanager
def beside(path: Path, *, one_writer: bool = False, sync: bool = False) -> Iterator[Path]:
    """A path next to ``path`` to write to, which replaces ``path`` at once when the block ends.

    If the block fails, the file beside is removed, and what was at ``path`` is still there.

    Args:
        path: the file to replace.
        one_writer: nobody else writes this file at the same time (the writer holds a lock). The file beside
            then has one fixed name, so that what a killed process left there is overwritten by the next one.
        sync: wait until the file and its name are on the disk.

    Raises:
        OSError: the file cannot be renamed, or not be brought onto the disk.
    """
    writer = "" if one_writer else f".{socket.gethostname()}-{os.getpid()}"
    # With the ending of the file, as some libraries go by it.
    temporary = path.with_name(f".{path.stem}{writer}.tmp{path.suffix}")
    try:
        yield temporary
        if sync:
            _bring_to_disk(temporary)
        temporary.replace(path)
        if sync:
            _bring_to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _bring_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path, field: str = "out_dir") -> None:
    """Refuses a folder that cannot be written, or cannot be made; nothing is made.

    Args:
        folder: it may not be there yet.
        field: the name of the flag that gave it.

    Raises:
        InputError: the folder, or the nearest folder above it that exists, cannot be written.
    """
    there = folder.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(field, folder, f"{there} is a file; give a folder that can be written")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(field, folder, f"{there} cannot be written; give a folder that can")
