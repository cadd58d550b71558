"""The process that owns the workers, its signs of life, and how a worker looks for them.

Parsl's interchange, managers and workers survive if the process that started them is killed with SIGKILL, and
would go on with the whole sweep unnoticed (Parsl#3663). So the owner shows in two ways that it is alive: by
its process, which others on the same host can see, and by a file that it keeps changing. Everything that it
has started ends if neither was seen for a while: a task asks its :class:`OwnerWatch` once per round, and
Parsl's own processes run under :mod:`dml.parallel.watch`.

This module must not import Parsl or torch, because the start of each of Parsl's processes waits for it.
"""

import contextlib
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from dml.files import beside

PATIENCE = 15.0
"""Seconds without a sign of life after which the owner counts as lost."""

FAREWELL = 1.0
"""The same in seconds once its file has gone: a shared file system may lose sight of a file for a moment."""

ABANDONED = 24 * 3600.0
"""Seconds without a beat after which the files of an owner on another host may be removed."""

SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ, as the host's clock may be adjusted."""


@dataclass(frozen=True)
class Owner:
    """A process that has started workers, and its heartbeat file.

    Args:
        host: the name of the host that it runs on.
        pid: its process id on that host.
        started: when it started [s]; this distinguishes it from a later process with the same id.
        heartbeat: the absolute path of its heartbeat file, which no other owner writes.
    """

    host: str
    pid: int
    started: float
    heartbeat: str

    @classmethod
    def here(cls, heartbeat: str | Path) -> Self:
        """This process, as the owner that writes `heartbeat`."""
        process = psutil.Process()
        return cls(socket.gethostname(), process.pid, process.create_time(), os.path.abspath(heartbeat))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The owner that `to_dict` wrote into a task's spec."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The owner as JSON values."""
        return asdict(self)

    @property
    def signature(self) -> str:
        """The beginning of its heartbeats, by which they differ from another owner's in the same file."""
        return f"{self.host} {self.pid} {self.started!r} "


class Heartbeat:
    """While entered, shows that this process is alive: a thread rewrites a file with an increasing count.

    Args:
        path: the file, on a file system that all hosts share. Each owner needs a file of its own, so the path
            must hold the host and the process id if several owners share a folder.
        period: seconds between two beats; several must fit into the patience of those who watch.
    """

    def __init__(self, path: str | Path, period: float = 3.0) -> None:
        self.owner = Owner.here(path)
        self.period = period
        self._path = Path(self.owner.heartbeat)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._beat(0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Removes the file, from any thread; whoever looks for it knows that the owner ends."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # Its folder may have gone as well.
            self._path.unlink(missing_ok=True)

    def _keep_beating(self) -> None:
        beat = 0
        while not self._end.wait(self.period):
            beat += 1
            with contextlib.suppress(OSError):  # A disk that is full for a moment must not end the thread.
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        with beside(self._path, one_writer=True) as new:
            new.write_text(f"{self.owner.signature}{beat}\n", encoding="utf-8")


def abandoned(heartbeat: Path) -> bool:
    """Whether the owner that wrote this file was killed, as far as this host can tell.

    An owner on another host counts as killed if its file has not changed for ``ABANDONED``.
    """
    try:
        host, pid, started = heartbeat.read_text(encoding="utf-8").split()[:3]
        owner = Owner(host, int(pid), float(started), str(heartbeat))
        if host != socket.gethostname():
            return time.time() - heartbeat.stat().st_mtime > ABANDONED
    except (OSError, ValueError):
        return False
    return not _runs(owner)


class OwnerWatch:
    """Tells whether an owner is lost: neither its process nor a new beat was seen for `patience` seconds.

    Beats are compared by content, and only the local monotonic clock is used, because the clocks of two hosts
    may differ.

    Args:
        owner: the process to look for.
        patience: seconds.
    """

    def __init__(self, owner: Owner, patience: float = PATIENCE) -> None:
        self.owner = owner
        self.patience = patience
        self._lost = False
        self._beat = self._read()
        self._seen = time.monotonic()

    def lost(self) -> bool:
        """Looks once, without waiting; this takes about 0.1 ms. An owner that was lost once stays lost.

        An owner that ends removes its file. So it is lost at once if neither it nor the file is there, and
        only an owner that was killed is waited for.
        """
        if not self._lost:
            now = time.monotonic()
            if _runs(self.owner) or self._has_beaten():
                self._seen = now
            removed = bool(self._beat) and not os.path.exists(self.owner.heartbeat)
            self._lost = now - self._seen > (FAREWELL if removed else self.patience)
        return self._lost

    def _has_beaten(self) -> bool:
        before, self._beat = self._beat, self._read() or self._beat
        return self._beat != before

    def _read(self) -> str:
        try:
            beat = Path(self.owner.heartbeat).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return beat if beat.startswith(self.owner.signature) else ""


def _runs(owner: Owner) -> bool:
    """Whether the owner's process is seen on this host."""
    if owner.host != socket.gethostname():
        return False
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) < SAME_START
        return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False
