"""The scheduler: it gives experiments to workers until each is done or has failed."""

import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dml import code_hash
from dml.errors import DamagedFileError, LostInterchangeError, LostWorkersError, first_line
from dml.messages import count
from dml.parallel import worker
from dml.parallel.failed_experiments import FailedExperiments
from dml.parallel.fanout import LostTaskError, Workers
from dml.parallel.worker import Answer, TaskStatus
from dml.plan import Plan
from dml.results import checkpoint, provenance, reader
from dml.results.leftovers import tidy
from dml.results.lock import LockedError
from dml.results.replaced import Replacing
from dml.results.status import Status, finished

_log = logging.getLogger(__name__)

TRIES = 3
"""How often workers are started if they are lost, and how often an experiment is given to a worker."""

COME_BACK = 5.0
"""Seconds until an experiment that another process runs is tried again."""

Show = Callable[[int, str, int], None]
"""Shows the progress: (number of experiments that are done, a short note, number of all experiments)."""


@dataclass
class Outcome:
    """The outcome of a sweep.

    Args:
        total: the number of experiments.
        done: the number of those with a complete or diverged result, including those of earlier calls.
        skipped: the number of those that were done before this call.
        other_code: the number of those that other code than this call's has computed.
        unknown_code: the number of those whose files do not say which code has.
        failed: "name: reason" for each experiment that failed.
    """

    total: int = 0
    done: int = 0
    skipped: int = 0
    other_code: int = 0
    unknown_code: int = 0
    failed: list[str] = field(default_factory=list)


class Scheduler:
    """One call of a sweep.

    Args:
        plans: the experiments.
        folder: the folder of the results.
        follow: names further experiments after one that is done.
        replacing: moves what is to be computed again; None if nothing is.
    """

    def __init__(
        self,
        plans: list[Plan],
        folder: Path,
        follow: Callable[[Plan], list[Plan]] = lambda plan: [],
        replacing: Replacing | None = None,
    ) -> None:
        self._follow, self._failures = follow, FailedExperiments(folder)
        self._replacing, self._commit = replacing, provenance.git_state()
        if earlier := len(self._failures):
            _log.info(f"retrying {count(earlier, 'experiment')} that failed in an earlier call")
        self.outcome = Outcome()
        self._show: Show = lambda done, note, total: None
        self._waiting: deque[Plan] = deque()
        self._running: dict[Future[str], Plan] = {}
        self._locked: deque[tuple[float, Plan]] = deque()
        self._tries: dict[str, int] = {}
        self._named: set[str] = set()
        """The experiments that the user was told another process runs."""
        self._take(plans)

    @property
    def left(self) -> int:
        """The number of experiments that wait to be run."""
        return len(self._waiting)

    def how_to_go_on(self) -> str:
        """The last line of a call that is interrupted. Any thread may ask, at any moment."""
        waiting = [*self._running.values(), *self._waiting, *(plan for _, plan in [*self._locked])]
        kept = sum(checkpoint.path_of(plan.result).exists() for plan in waiting)
        return (
            f"interrupted: {self.outcome.done} of {count(self.outcome.total, 'experiment')} are done, "
            f"{kept} have a checkpoint: run the same command to continue"
        )

    def run(self, start: Callable[[], AbstractContextManager[Workers]], show: Show) -> Outcome:
        """Runs all experiments that are not done.

        Args:
            start: starts workers; called again when they are lost.
            show: called for every experiment that is done or has failed.

        Raises:
            LostWorkersError: the workers were lost again and again, or cannot be started again.
        """
        self._show = show
        for attempt in range(1, TRIES + 1):
            try:
                with start() as workers:
                    self._work(workers)
                return self.outcome
            except LostWorkersError as lost:
                self._waiting.extend(self._running.values())
                self._running.clear()
                if attempt == TRIES or isinstance(lost, LostInterchangeError):
                    raise
                _log.info(f"{lost}; starting them again")
        raise AssertionError("the last attempt has returned or raised")

    def _take(self, plans: list[Plan]) -> None:
        """Queues experiments; if one is done, counts it and queues the experiments that follow on it."""
        new = deque(plans)
        while new:
            plan = new.popleft()
            self.outcome.total += 1
            if self._replacing:
                # One that another process runs is tried again later, as ever.
                with contextlib.suppress(LockedError):
                    self._replacing.experiment(plan.result, plan.identity.id)
            try:
                found = reader.attributes(plan.result) if plan.result.exists() else None
            except DamagedFileError as error:
                self._fail(plan, str(error))
                continue
            if not (found and finished(found, plan.config.run.rounds)):
                self._waiting.append(plan)
                continue
            if found["status"] == Status.RUNNING:
                rounds = found["rounds_done"]
                _log.info(
                    f"{plan.result.name} holds {rounds} rounds of a longer run that has not ended; "
                    f"--rounds {rounds} or more completes it"
                )
            self.outcome.skipped += 1
            tidy(plan.result, found)
            self._compare_code(plan, found)
            self.outcome.done += 1
            self._failures.remove(plan.identity.id)
            new.extend(self._follow(plan))

    def _compare_code(self, plan: Plan, found: Mapping[str, Any]) -> None:
        """Counts a result that is kept if it was computed by other code than this call's."""
        now, then = code_hash.code_sha256(plan.config), str(found.get("code_sha256", code_hash.UNKNOWN))
        if code_hash.UNKNOWN in then.split():
            self.outcome.unknown_code += 1
        elif now not in (then, code_hash.UNKNOWN):
            self.outcome.other_code += 1

    def _work(self, workers: Workers) -> None:
        running, locked = self._running, self._locked
        while self._waiting or running or locked:
            while locked and locked[0][0] <= time.monotonic():
                self._waiting.append(locked.popleft()[1])
            while self._waiting:
                plan = self._waiting.popleft()
                running[workers.submit(worker.spec(plan.config.flat(), workers.owner, self._commit))] = plan
            if not running:
                time.sleep(0.2)
                continue
            for future in workers.ready(running, timeout=1.0):
                answer = _answer(workers, future)
                self._take_in(running.pop(future), answer)

    def _take_in(self, plan: Plan, answer: Answer) -> None:
        """Handles the worker's answer about an experiment."""
        name, key = plan.result.name, plan.identity.id
        if answer.status in set(Status):
            self._done(plan, answer)
        elif answer.status == TaskStatus.LOCKED:
            if key not in self._named:
                self._named.add(key)
                _log.info(f"{name}: {answer.why}; will try again later")
            self._locked.append((time.monotonic() + COME_BACK, plan))
        elif answer.status == TaskStatus.STOPPED and self._tries.get(key, 0) < TRIES:
            self._tries[key] = self._tries.get(key, 0) + 1
            _log.info(f"{name}: {answer.why}; trying again")
            self._waiting.append(plan)
        else:
            self._fail(plan, answer.why)

    def _done(self, plan: Plan, answer: Answer) -> None:
        self.outcome.done += 1
        self._failures.remove(plan.identity.id)
        if answer.status == Status.DIVERGED:
            _log.info(
                f"{plan.result.name}: the training loss of a node is no longer finite; kept as diverged"
            )
        self._take(self._follow(plan))
        self._tell()

    def _fail(self, plan: Plan, why: str) -> None:
        self.outcome.failed.append(f"{plan.result.name}: {why}")
        self._failures.add(plan.identity.id, plan.identity.name, why)
        _log.info(f"failed: {plan.result.name}: {why}")
        self._tell()

    def _tell(self) -> None:
        failed = f"{len(self.outcome.failed)} failed" if self.outcome.failed else ""
        self._show(self.outcome.done, failed, self.outcome.total)


def _answer(workers: Workers, future: "Future[str]") -> Answer:
    """The answer of a task. A lost worker counts as stopped, any other end without an answer as a failure.

    Raises:
        LostWorkersError: no worker is left, and none will come.
    """
    try:
        return Answer(**json.loads(workers.answer(future)))
    except LostWorkersError:
        raise
    except LostTaskError as error:
        return Answer(TaskStatus.STOPPED, why=str(error))
    except Exception as error:
        return Answer(TaskStatus.FAILED, why=first_line(error))
