"""Workers of a pool that end as soon as they start: the pool says why and ends.

Parsl's pool starts a worker that has ended again, silently, until its job ends. That helps no worker that
fails at its start, because of a list of cores that does not fit the host, for instance.
"""

import os
import sys
from collections import Counter
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

from dml.files import beside

TRIES = 2
"""How often in a row a worker may end by itself. Parsl's workers never do: a task's error is an answer."""

_tell, _logs = Path(os.devnull), Path(os.devnull)
_last: dict[str, BaseProcess] = {}
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


class ForkedWorker(ForkServerProcess):
    """A worker that is forked."""

    def start(self) -> None:
        """Starts it, unless those before it in its place have failed."""
        _check(self)
        super().start()


class SpawnedWorker(SpawnProcess):
    """A worker that is a new Python process."""

    def start(self) -> None:
        """Starts it, unless those before it in its place have failed."""
        _check(self)
        super().start()


class ForkedWorkers(ForkServerContext):
    """Starts workers that are forked."""

    Process = ForkedWorker


class SpawnedWorkers(SpawnContext):
    """Starts workers that are new Python processes."""

    Process = SpawnedWorker


def _check(worker: BaseProcess) -> None:
    """Ends the pool if the workers before this one in its place have failed."""
    before, _last[worker.name] = _last.get(worker.name), worker
    # One that a signal has killed has a negative exit code; whether that was its fault is not known.
    if before is None or before.exitcode is None or before.exitcode < 0:
        _ended[worker.name] = 0
        return
    _ended[worker.name] += 1
    if _ended[worker.name] >= TRIES:
        _end(_logs / f"worker_{worker.name.rpartition('-')[2]}.log")


def _end(log: Path) -> None:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    why = lines[-1].strip() if lines else "it has written nothing"
    text = f"the workers on {os.uname().nodename} fail at their start: {why} (in {log})"
    print(text, file=sys.stderr, flush=True)
    with beside(_tell) as new:
        new.write_text(text, encoding="utf-8")
    os._exit(1)
