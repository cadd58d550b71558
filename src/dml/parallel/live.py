"""What a sweep is doing now, for other terminals: ``status.json`` and ``sweep.log`` in its folder."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from dml.files import beside, check_regular
from dml.parallel import running, walltime
from dml.parallel.running import Running
from dml.parallel.worker import Answer, TaskStatus

FILE, LOG = "status.json", "sweep.log"

PERIOD = 10.0
"""Seconds between two versions of the file."""


@dataclass
class Counts:
    """How far a sweep is.

    Args:
        total: the number of experiments.
        done: the number of those with a result, including those of earlier calls.
        skipped: the number of those that were done before this call.
        failed: the reason for each experiment that failed, by name.
        elsewhere: the number of those that another call runs.
    """

    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: int = 0

    @property
    def left(self) -> int:
        """The number of experiments that neither have a result nor have failed."""
        return self.total - self.done - len(self.failed)


class Live:
    """Writes both files of one call.

    Args:
        folder: the folder of the results.
        ends_at: when the time of this call is over, by ``time.time()``.
    """

    def __init__(self, folder: Path, ends_at: float = float("inf")) -> None:
        self._folder, self._ends_at, self._started = folder, ends_at, time.time()
        self._logged: set[tuple[str, float]] = set()
        self._over = threading.Event()
        self._counts: Callable[[], Counts] = Counts

    @contextmanager
    def watching(
        self, run_dir: Path, counts: Callable[[], Counts], show: Callable[[str], None]
    ) -> Iterator[None]:
        """While this is entered, a thread writes the status every few seconds, and once more at the end.

        Args:
            run_dir: the folder of the heartbeat, beside which workers note what they run.
            counts: tells how far the sweep is; asked in another thread.
            show: shows a few words on what runs.
        """
        self._counts = counts
        self._log(self._started, f"call   starts on {socket.gethostname()} as process {os.getpid()}")
        self._write("running", [])
        threading.Thread(target=self._keep_writing, args=(run_dir, show), name="status", daemon=True).start()
        try:
            yield
        finally:
            self.over()

    def over(self) -> None:
        """Writes the status for the last time, from any thread."""
        if not self._over.is_set():
            self._over.set()
            counts = self._counts()
            self._log(time.time(), f"call   ends with {counts.done} of {counts.total} done")
            self._write("ended", [])

    def experiment_ended(self, name: str, answer: Answer) -> None:
        """Writes to the log that a worker has given back an experiment, and when it was started.

        Args:
            name: the name of the result file.
            answer: the answer of the worker.
        """
        if answer.status == TaskStatus.LOCKED:
            return
        took = ""
        if answer.began:
            self._log_start(name, answer.worker, answer.began)
            took = f" after {time.time() - answer.began:.0f} s"
        why = f": {answer.why}" if answer.why else ""
        self._log(time.time(), f"end    {name}  {answer.status}{took}{why}")

    def _keep_writing(self, run_dir: Path, show: Callable[[str], None]) -> None:
        while not self._over.wait(PERIOD):
            now = running.read(run_dir)
            for one in now:
                self._log_start(one.name, one.worker, one.since)
            show(_words(now))
            self._write("running", now)

    def _log_start(self, name: str, worker: str, began: float) -> None:
        if (name, began) not in self._logged:
            self._logged.add((name, began))
            self._log(began, f"start  {name}  on {worker}")

    def _log(self, moment: float, line: str) -> None:
        path = self._folder / LOG
        with contextlib.suppress(OSError):
            if path.exists():
                check_regular(path)  # A pipe would be waited for.
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{_text(moment)}  {line}\n")

    def _write(self, state: str, now: list[Running]) -> None:
        counts = self._counts()
        values: dict[str, Any] = {
            "version": 1,
            "state": state,
            "updated": _text(time.time()),
            "started": _text(self._started),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": walltime.job(),
            "ends_at": _text(self._ends_at) if isfinite(self._ends_at) else None,
            **asdict(counts),
            "left": counts.left,
            "seconds_left": self._seconds_left(counts, now),
            "running": [asdict(one) for one in now],
        }
        # A full disk must not end the sweep, whose results say so themselves.
        with contextlib.suppress(OSError), beside(self._folder / FILE) as new:
            new.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    def _seconds_left(self, counts: Counts, now: list[Running]) -> float | None:
        """At the speed of this call so far; None if nothing is known of it."""
        half_done = sum((one.round - one.first) / one.rounds for one in now if one.rounds)
        done = counts.done - counts.skipped + half_done
        if done <= 0:
            return None
        return round((time.time() - self._started) / done * max(0.0, counts.left - half_done), 1)


def _words(now: list[Running]) -> str:
    """The experiments that run, for a bar: the first one, and how many others there are."""
    if not now:
        return ""
    first = now[0]
    others = f" and {len(now) - 1} more" if len(now) > 1 else ""
    name = first.name.removesuffix(".h5").rpartition("-")[0]
    return f"{name} {first.round}/{first.rounds}{others}"


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
