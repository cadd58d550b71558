"""Reads and writes the files that users name.

What is not a regular file is not opened: opening a pipe waits for somebody to write to it, and a device such
as /dev/zero has no end. Nobody sees half of a file: until it is complete, it has another name.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dml.errors import InputError

LONGEST_NAME = 255
"""The largest number of bytes in the name of a file or folder."""

LONGEST_PATH = 3500
"""The largest number of bytes in a path. The system takes 4095, but a folder must have room for our files."""

FILE, FOLDER = "is a file", "is a folder"


def what_is_at(path: str | Path) -> str:
    """What stands at a path, in words that can follow it: `FILE`, `FOLDER`, or what else it is."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is a link to nothing" if os.path.islink(path) else "does not exist"
    except OSError as error:
        return f"cannot be reached ({error.strerror})"
    kinds = {
        stat.S_IFREG: FILE,
        stat.S_IFDIR: FOLDER,
        stat.S_IFIFO: "is a pipe",
        stat.S_IFSOCK: "is a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "is a device")


def objection_to_path(path: str | Path) -> str | None:
    """Why nothing can have this path, as the end of a message; None if it is possible."""
    if "\0" in str(path):
        return "holds a zero byte"
    if any(len(os.fsencode(name)) > LONGEST_NAME for name in Path(path).parts):
        return f"holds a name of more than {LONGEST_NAME} bytes"
    if len(os.fsencode(os.path.abspath(path))) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    return None


def check_regular(path: Path, most: int | None = None) -> None:
    """Refuses to open what is not a regular file.

    Args:
        path: the file.
        most: the largest size in bytes; None for a file that is not read whole.

    Raises:
        OSError: it is not a regular file, or is larger; ``strerror`` says which.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"it {FOLDER}", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"it {what_is_at(path)} and not a regular file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:,.0f} MB", str(path))


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: the largest size in bytes.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger.
    """
    check_regular(path, most)
    return path.read_bytes()


def read_text(path: Path, most: int) -> str:
    """The content of a regular file of UTF-8 text; the arguments are those of :func:`read_bytes`.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger.
        UnicodeDecodeError: it is not UTF-8 text.
    """
    return read_bytes(path, most).decode()


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
        OSError: there is something else than a regular file, or the file cannot be renamed or flushed to the
            disk.
    """
    if os.path.exists(path):
        check_regular(path)
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


@contextmanager
def folder_for(folder: Path, field: str = "out_dir") -> Iterator[None]:
    """Makes a folder for what the block writes, and the folders above it.

    If the block refuses a value, those that were made and are still empty are removed.

    Args:
        folder: the folder.
        field: the name of the flag that gave it.

    Raises:
        InputError: it cannot be made.
    """
    made = []
    there = folder.absolute()
    while not os.path.lexists(there):
        made.append(there)
        there = there.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(field, folder, f"cannot be written ({error.strerror})") from None
    try:
        yield
    except InputError:
        with contextlib.suppress(OSError):
            for empty in made:
                empty.rmdir()
        raise


def check_writable(folder: Path, field: str = "out_dir") -> None:
    """Refuses a folder that cannot be written or created. It creates nothing.

    Args:
        folder: the folder, which need not exist.
        field: the name of the flag that gave it.

    Raises:
        InputError: the folder, or the nearest folder above it that exists, cannot be written.
    """
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    found = what_is_at(there)
    if found != FOLDER:
        raise InputError(field, folder, f"{there} {found}; give a folder that can be written")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(field, folder, f"{there} cannot be written; give a folder that can")


def check_writable_file(file: Path, field: str) -> None:
    """Refuses a file that cannot be written, or replaced if it exists. It creates nothing.

    Args:
        file: the file, which need not exist.
        field: the name of the flag that gave it.

    Raises:
        InputError: its folder does not exist or cannot be written, or something else stands at its path.
    """
    folder = file.absolute().parent
    if what_is_at(folder) != FOLDER:
        raise InputError(field, file, "is in a folder that does not exist")
    if os.path.lexists(file) and (found := what_is_at(file)) != FILE:
        raise InputError(field, file, f"{found}; give a file")
    check_writable(folder, field)
