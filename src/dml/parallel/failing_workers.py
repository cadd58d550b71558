"""Workers that end: if their pool cannot go on with others in their places, it says why and ends.

Parsl's pool starts a worker that has ended again, silently, until its job ends. That does not help

- workers that fail at their start, because of a list of cores that does not fit the host, for instance;
- if a worker was killed between two tasks. The workers get tasks and give answers through queues with locks
  that they share, and one of those that wait for a task always holds a lock. If it is killed, nobody releases
  the lock, and no worker of the pool gets a task again; and a task that it has just taken is lost.

A worker that is killed within a task holds no lock, and the pool goes on with another in its place.
"""

import os
from collections import Counter
from collections.abc import Callable
from ctypes import c_bool
from multiprocessing import current_process, queues
from multiprocessing.context import (
    BaseContext,
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from dml.files import beside
from dml.parallel.parsl_private import end_pool

TRIES = 2
"""How often in a row a worker may end by itself. Parsl's workers never do: a task's error is an answer."""

_tell, _logs = Path(os.devnull), Path(os.devnull)
_last: dict[str, "Worker"] = {}
_ended: Counter[str] = Counter()


def tell(path: Path, logs: Path) -> None:
    """Names the file for the message about failing workers, and the folder of their logs."""
    global _tell, _logs
    _tell, _logs = path, logs


def message(path: Path) -> str | None:
    """The message that a pool has written, or None."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def run(task: Callable[[str], str], text: str) -> str:
    """Runs a task in a worker; the pool sees that the worker is within a task."""
    worker = current_process()
    if not isinstance(worker, Worker):  # A site may start its workers in its own way.
        return task(text)
    worker.in_task.value = True
    try:
        return task(text)
    finally:
        worker.in_task.value = False


class Worker(BaseProcess):
    """A worker, as the pool and the process of the worker itself see it.

    Attributes:
        in_task: whether it runs a task, in memory that both processes share.
    """

    in_task: c_bool

    def start(self) -> None:
        """Starts it, unless the end of those before it in its place shows that the pool cannot go on."""
        _check(self)
        self.in_task = RawValue(c_bool)
        super().start()


class ForkedWorker(Worker, ForkServerProcess):
    """A worker that is forked."""


class SpawnedWorker(Worker, SpawnProcess):
    """A worker that is a new Python process."""


class Queue(queues.Queue):  # type: ignore[type-arg]  # It takes none when the program runs.
    """A queue into which a worker writes its answer before it goes on.

    Python's own leaves that to a thread, which may still hold the queue's lock within the next task.
    """

    def put(self: Any, obj: object, block: bool = True, timeout: float | None = None) -> None:
        """Puts an object into the queue. A worker always waits until it is written; the pool never does."""
        if os.getpid() == self._opid:
            super().put(obj, block, timeout)
            return
        data = ForkingPickler.dumps(obj)
        self._sem.acquire()  # Counts the objects; `get` releases it.
        with self._wlock:
            self._send_bytes(data)


class _Context(BaseContext):
    def Queue(self, maxsize: int = 0) -> "queues.Queue[Any]":  # noqa: N802  # As Python names it.
        return Queue(maxsize, ctx=self.get_context())


class ForkedWorkers(_Context, ForkServerContext):
    """Starts workers that are forked."""

    Process = ForkedWorker


class SpawnedWorkers(_Context, SpawnContext):
    """Starts workers that are new Python processes."""

    Process = SpawnedWorker


def _check(worker: Worker) -> None:
    """Ends the pool if it cannot go on after the end of the workers before this one in its place."""
    before, _last[worker.name] = _last.get(worker.name), worker
    number = worker.name.rpartition("-")[2]
    # One that a signal has killed has a negative exit code; whether that was its fault is not known.
    if before is None or before.exitcode is None or before.exitcode < 0:
        if before is not None and before.exitcode is not None and not before.in_task.value:
            end_pool(f"worker {number} on {os.uname().nodename} was killed between two tasks")
        _ended[worker.name] = 0
        return
    _ended[worker.name] += 1
    if _ended[worker.name] >= TRIES:
        _end(_logs / f"worker_{number}.log")


def _end(log: Path) -> None:
    """Ends the pool, and tells the scheduler that other workers would fail as well."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    why = lines[-1].strip() if lines else "it has written nothing"
    text = f"the workers on {os.uname().nodename} fail at their start: {why} (in {log})"
    with beside(_tell) as new:
        new.write_text(text, encoding="utf-8")
    end_pool(text)
