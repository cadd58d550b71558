"""The fan-out: experiments become Parsl tasks, answers become a list of what was done."""

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dml.errors import DamagedFileError
from dml.parallel import worker
from dml.parallel.failures import Failures
from dml.parallel.watch import Heartbeat, watched
from dml.parallel.worker import Answer
from dml.plan import Plan
from dml.results import reader

if TYPE_CHECKING:
    from parsl import Config

TRIES = 3
"""How often an experiment is given to a worker when workers are lost."""

COME_BACK = 5.0
"""Seconds after which an experiment that another process ran is looked at again."""


@dataclass
class Outcome:
    """What became of a sweep.

    Args:
        total: experiments of the sweep.
        done: those whose result is complete or diverged, earlier ones included.
        skipped: those that were done before.
        diverged: of those that were run now.
        failed: "name: why" of those that failed.
        seconds: of work, from the first task to the last answer.
    """

    total: int
    done: int = 0
    skipped: int = 0
    diverged: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Sweep:
    """One call of the scheduler.

    Args:
        plans: the experiments.
        folder: of the results.
        say: prints a line to the user.
        show: is told how many are done, and a few words.
    """

    def __init__(
        self, plans: list[Plan], folder: Path, say: Callable[[str], None], show: Callable[[int, str], None]
    ) -> None:
        self._say, self._show, self._folder = say, show, folder
        self._failures = Failures(folder)
        if len(self._failures):
            say(f"{len(self._failures)} experiments failed in an earlier call; and are tried again")
        self.outcome = Outcome(total=len(plans))
        self._waiting: deque[Plan] = deque()
        self._tries: dict[str, int] = {}
        self._told: set[str] = set()
        for plan in plans:
            try:
                if plan.result.exists() and reader.finished(
                    reader.attributes(plan.result), plan.config.run.rounds
                ):
                    self.outcome.skipped += 1
                    self.outcome.done += 1
                    self._failures.remove(plan.identity.id)
                else:
                    self._waiting.append(plan)
            except DamagedFileError as error:
                self._fail(plan, str(error))

    @property
    def left(self) -> int:
        """Experiments that are still to run."""
        return len(self._waiting)

    def run(self, config: "Config") -> Outcome:
        """Runs what is left on the workers of a Parsl configuration."""
        import parsl

        beat = self._folder / ".parsl" / f"heartbeat-{socket.gethostname()}-{os.getpid()}"
        with Heartbeat(beat) as heart:
            watched(config, heart.scheduler)
            # Cleaned up in every case: Parsl's processes would outlive an exception.
            with parsl.load(config) as kernel:
                task = parsl.python_app(worker.run_task, data_flow_kernel=kernel)
                started = time.monotonic()
                self._work(lambda plan: task(worker.spec(plan.config.flat(), heart.scheduler)))
                self.outcome.seconds = time.monotonic() - started
        return self.outcome

    def _work(self, submit: Callable[[Plan], "Future[str]"]) -> None:
        running: dict[Future[str], Plan] = {}
        locked: deque[tuple[float, Plan]] = deque()
        while self._waiting or running or locked:
            while locked and locked[0][0] <= time.monotonic():
                self._waiting.append(locked.popleft()[1])
            while self._waiting:
                plan = self._waiting.popleft()
                running[submit(plan)] = plan
            if not running:
                time.sleep(0.2)
                continue
            ready, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future, plan in self._pop(running, ready):
                answer = self._answer(future, plan)
                if answer.status == worker.LOCKED:
                    if plan.identity.id not in self._told:
                        self._told.add(plan.identity.id)
                        self._say(f"{plan.result.name}: {answer.why}; coming back to it")
                    locked.append((time.monotonic() + COME_BACK, plan))
                elif answer.status in (worker.COMPLETE, worker.DIVERGED):
                    self._done(plan, answer)
                elif answer.status == worker.STOPPED and self._tries.get(plan.identity.id, 0) < TRIES:
                    self._tries[plan.identity.id] = self._tries.get(plan.identity.id, 0) + 1
                    self._say(f"{plan.result.name}: {answer.why}; trying again")
                    self._waiting.append(plan)
                else:
                    self._fail(plan, answer.why)

    @staticmethod
    def _pop(
        running: dict["Future[str]", Plan], ready: Iterable["Future[str]"]
    ) -> list[tuple["Future[str]", Plan]]:
        return [(future, running.pop(future)) for future in ready]

    @staticmethod
    def _answer(future: "Future[str]", plan: Plan) -> Answer:
        """What a task said; that its worker was lost counts as stopped, any other end as a failure."""
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            return Answer(**json.loads(future.result()))
        except (ManagerLost, WorkerLost) as error:
            return Answer(worker.STOPPED, why=str(error).splitlines()[0])
        except Exception as error:
            return Answer(
                worker.FAILED, why=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            )

    def _done(self, plan: Plan, answer: Answer) -> None:
        self.outcome.done += 1
        self._failures.remove(plan.identity.id)
        if answer.status == worker.DIVERGED:
            self.outcome.diverged += 1
            self._say(f"{plan.result.name}: a node's training loss is no longer finite; kept as diverged")
        self._show(self.outcome.done, self._note())

    def _fail(self, plan: Plan, why: str) -> None:
        self.outcome.failed.append(f"{plan.result.name}: {why}")
        self._failures.add(plan.identity.id, plan.identity.name, why)
        self._say(f"failed: {plan.result.name}: {why}")
        self._show(self.outcome.done, self._note())

    def _note(self) -> str:
        return f"{len(self.outcome.failed)} failed" if self.outcome.failed else ""
