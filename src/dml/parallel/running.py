"""What each worker is doing now: a small file per worker, which the scheduler reads.

Nobody depends on these files: one that is not there, old or half written only makes the status less complete.
"""

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

FOLDER = "running"
"""The name of the folder, beside the heartbeat of the owner."""

PERIOD = 5.0
"""Seconds between two notes of a worker; ten thousand workers make two thousand small writes a second."""


@dataclass(frozen=True)
class Running:
    """An experiment that a worker runs.

    Args:
        name: the name of its result file.
        worker: the host and the process id of the worker.
        since: when it was started, by ``time.time()``.
        first: the round with which it started.
        round: the number of rounds that are done.
        rounds: the number of rounds in all.
    """

    name: str
    worker: str
    since: float
    first: int = 0
    round: int = 0
    rounds: int = 0


def this_worker() -> str:
    """The host and the process id of this worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Note:
    """While it is entered, a file says what this worker runs.

    Args:
        folder: the folder of the owner's heartbeat.
        name: the name of the result file.
        since: when the worker began with it, by ``time.time()``.
        rounds: the number of rounds in all.
    """

    def __init__(self, folder: Path, name: str, since: float, rounds: int) -> None:
        self._path = folder / FOLDER / this_worker().replace(":", "-")
        self._running = Running(name, this_worker(), since, rounds=rounds)
        self._written = 0.0
        self._begun = False

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def round_done(self, number: int) -> None:
        """Notes that this many rounds are done, unless the last note is very new."""
        if not self._begun:
            self._begun = True
            self._running = replace(self._running, first=number - 1)
        self._running = replace(self._running, round=number)
        if time.monotonic() - self._written >= PERIOD:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        with contextlib.suppress(OSError):  # The experiment goes on, whatever becomes of this note.
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_text(json.dumps(asdict(self._running)), encoding="utf-8")


def read(folder: Path) -> list[Running]:
    """What the workers run, the oldest first.

    Args:
        folder: the folder of the owner's heartbeat.
    """
    found = []
    with contextlib.suppress(OSError):
        for path in (folder / FOLDER).iterdir():
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(Running(**json.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda running: running.since)
