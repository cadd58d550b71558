"""One writer per experiment: a lock on a file next to the result, held while the experiment runs.

The operating system releases the lock when its holder ends, however it ends, so a killed run leaves nothing
that must be cleaned up by hand.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dml.errors import UnwritableFileError
from dml.files import what_is_at

_log = logging.getLogger(__name__)

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class LockedError(RuntimeError):
    """Another process runs this experiment; the message says which."""


@contextmanager
def locked(result: Path, experiment_id: str) -> Iterator[None]:
    """Holds the lock of an experiment within the block.

    Raises:
        LockedError: another process holds it.
        UnwritableFileError: something else than a file is in its place.
    """
    path = lock_of(result, experiment_id)
    handle = _acquire(path)
    try:
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        # Remove the file before releasing the lock: a process that has opened it will notice and open again.
        path.unlink(missing_ok=True)
        os.close(handle)


def lock_of(result: Path, experiment_id: str) -> Path:
    """The file that is locked while an experiment runs."""
    return result.with_name(f".{experiment_id}.lock")


def _acquire(path: Path) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            raise LockedError("another user is running it, or left a lock that only they can open") from None
        except OSError as error:
            raise UnwritableFileError(f"{path} cannot be written ({error.strerror}); remove it") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UnwritableFileError(f"{path} {what_is_at(path)} and not a regular file; remove it")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                _log.warning(f"{path.parent} has no file locks: do not run an experiment twice at once")
                return handle
            text = os.pread(handle, 4096, 0).decode(errors="replace")
            os.close(handle)
            raise LockedError(_describe(text)) from None
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} has been running it since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process is running it"
