"""Checks that file locks work in the folder of a sweep: on this host, and between it and the workers' hosts.

A lock keeps two jobs from running the same experiment at once (:mod:`dml.results.lock`). Some file systems
have no locks, or locks that only the processes of one host see. Then a line says what must not be done.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dml.parallel.ending import Ending

_log = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between two looks for what the workers' hosts have found."""

_PATIENCE = 20.0
"""Seconds for one look."""

_NAME, _FOUND = "lock", "no-lock-"
_TAKE = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
_DO_NOT = "never run two sweeps in it at once"


@contextmanager
def checked(run_dir: Path, folder: Path, ending: Ending) -> Iterator[None]:
    """Holds a lock while the block runs, and says once if another process, here or elsewhere, can take it.

    Args:
        run_dir: the folder of Parsl's own files, on the file system of the results.
        folder: that of the results, for the message.
        ending: ends this process when it is told to.
    """
    file = (run_dir / _NAME).open("w")
    ended = threading.Event()
    looking = threading.Thread(target=_look, args=(run_dir, folder, ended), name="locks", daemon=True)
    # Closed before the folder is removed: NFS keeps a file that is open, and so the folder.
    with file, ending.giving_up(file.close):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _log.warning(f"{folder} has no file locks ({error.strerror}): {_DO_NOT}")
        else:
            if _another_process_can_take(run_dir / _NAME):
                _log.warning(f"two processes can hold the same file lock in {folder}: {_DO_NOT}")
            looking.start()
        try:
            yield
        finally:
            ended.set()


def check_here(run_dir: Path) -> None:
    """Leaves a note for the scheduler if this host does not see the lock that it holds.

    Args:
        run_dir: the folder of the heartbeat of the scheduler, which runs on another host.
    """
    try:
        with (run_dir / _NAME).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.ENOENT):
            return
    with contextlib.suppress(OSError):
        (run_dir / f"{_FOUND}{socket.gethostname()}").touch()


def _another_process_can_take(path: Path) -> bool:
    # A process of its own: on some file systems, a lock is one of the whole process.
    command = [sys.executable, "-I", "-S", "-c", _TAKE, str(path)]
    try:
        ended = subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return True  # Locks that answer nobody protect nobody.
    return ended.returncode == os.EX_OK


def _look(run_dir: Path, folder: Path, ended: threading.Event) -> None:
    """Waits for a note of a worker's host, and tells the user."""
    while not ended.wait(LOOK):
        if found := sorted(run_dir.glob(f"{_FOUND}*")):
            host = found[0].name.removeprefix(_FOUND)
            here = socket.gethostname()
            _log.warning(f"{host} does not see the file locks that {here} holds in {folder}: {_DO_NOT}")
            return
