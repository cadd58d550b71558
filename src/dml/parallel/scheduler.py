"""The fan-out: experiments become Parsl tasks, answers become a list of what was done."""

import contextlib
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dml.errors import DamagedFileError
from dml.parallel import worker
from dml.parallel.failures import Failures
from dml.parallel.watch import Heartbeat, Scheduler, watched
from dml.parallel.worker import Answer
from dml.plan import Plan
from dml.results import reader

if TYPE_CHECKING:
    from parsl import Config

TRIES = 3
"""How often an experiment is given to a worker when workers are lost."""

COME_BACK = 5.0
"""Seconds after which an experiment that another process ran is looked at again."""


class LostWorkersError(RuntimeError):
    """No worker is left, and none will come."""


class LostInterchangeError(LostWorkersError):
    """The process through which Parsl hands out tasks has ended.

    Parsl does not notice, and waits for it for ever, also when it closes: this process must end without
    closing it (``os._exit``). The workers end by themselves when they see that it has gone.
    """


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
        follow: names further experiments after one that is done.
    """

    def __init__(
        self,
        plans: list[Plan],
        folder: Path,
        say: Callable[[str], None],
        show: Callable[[int, str], None],
        follow: Callable[[Plan], list[Plan]] = lambda plan: [],
    ) -> None:
        self._say, self._show, self._folder, self._follow = say, show, folder, follow
        self._failures = Failures(folder)
        if len(self._failures):
            say(f"{len(self._failures)} experiments failed in an earlier call; and are tried again")
        self.outcome = Outcome(total=0)
        self._waiting: deque[Plan] = deque()
        self._running: dict[Future[str], Plan] = {}
        self._locked: deque[tuple[float, Plan]] = deque()
        self._tries: dict[str, int] = {}
        self._told: set[str] = set()
        self._take(plans)

    def _take(self, plans: list[Plan]) -> None:
        """Queues experiments, but for those that are done, and what follows on these."""
        new = deque(plans)
        while new:
            plan = new.popleft()
            self.outcome.total += 1
            try:
                found = reader.attributes(plan.result) if plan.result.exists() else None
            except DamagedFileError as error:
                self._fail(plan, str(error))
                continue
            if not (found and reader.finished(found, plan.config.run.rounds)):
                self._waiting.append(plan)
                continue
            if found["status"] == "running":
                rounds = found["rounds_done"]
                self._say(f"{plan.result.name}: holds {rounds} rounds and has not ended; "
                          f"--rounds {rounds} or more ends it")  # fmt: skip
            self.outcome.skipped += 1
            self.outcome.done += 1
            self._failures.remove(plan.identity.id)
            new.extend(self._follow(plan))

    @property
    def left(self) -> int:
        """Experiments that are still to run."""
        return len(self._waiting)

    def run(self, make_config: Callable[[], "Config"]) -> Outcome:
        """Runs what is left on the workers of a Parsl configuration.

        Args:
            make_config: makes a new configuration, as one serves once: another when its workers are lost.

        Raises:
            LostWorkersError: they were lost again and again.
        """
        import parsl

        beat = self._folder / ".parsl" / f"heartbeat-{socket.gethostname()}-{os.getpid()}"
        started = None
        with Heartbeat(beat) as heart:
            for attempt in range(1, TRIES + 1):
                config = make_config()
                watched(config, heart.scheduler)
                try:
                    # Cleaned up in every case but one: Parsl's processes would outlive an exception.
                    with contextlib.ExitStack() as loaded:
                        kernel = loaded.enter_context(parsl.load(config))
                        task = parsl.python_app(worker.run_task, data_flow_kernel=kernel)
                        started = started or time.monotonic()
                        try:
                            self._work(task, heart.scheduler, config)
                        except LostInterchangeError:
                            loaded.pop_all()
                            raise
                    break
                except LostWorkersError as lost:
                    self._waiting.extend(self._running.values())
                    self._running.clear()
                    if attempt == TRIES or isinstance(lost, LostInterchangeError):
                        raise
                    self._say(f"{lost}; starting them again")
            self.outcome.seconds = time.monotonic() - (started or time.monotonic())
        return self.outcome

    def _work(self, task: Callable[[str], "Future[str]"], scheduler: Scheduler, config: "Config") -> None:
        running, locked = self._running, self._locked
        while self._waiting or running or locked:
            while locked and locked[0][0] <= time.monotonic():
                self._waiting.append(locked.popleft()[1])
            while self._waiting:
                plan = self._waiting.popleft()
                running[task(worker.spec(plan.config.flat(), scheduler))] = plan
            if not running:
                time.sleep(0.2)
                continue
            ready, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            check_alive(config)
            for future in ready:
                answer = self._answer(future)
                plan = running.pop(future)
                if answer.status == worker.LOCKED:
                    if plan.identity.id not in self._told:
                        self._told.add(plan.identity.id)
                        self._say(f"{plan.result.name}: {answer.why}; coming back to it")
                    locked.append((time.monotonic() + COME_BACK, plan))
                elif answer.status in (worker.COMPLETE, worker.DIVERGED, worker.RUNNING):
                    self._done(plan, answer)
                elif answer.status == worker.STOPPED and self._tries.get(plan.identity.id, 0) < TRIES:
                    self._tries[plan.identity.id] = self._tries.get(plan.identity.id, 0) + 1
                    self._say(f"{plan.result.name}: {answer.why}; trying again")
                    self._waiting.append(plan)
                else:
                    self._fail(plan, answer.why)

    @staticmethod
    def _answer(future: "Future[str]") -> Answer:
        """What a task said; that its worker was lost counts as stopped, any other end as a failure.

        Raises:
            LostWorkersError: no worker is left, and none will come.
        """
        from parsl.executors.errors import BadStateException
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            return Answer(**json.loads(future.result()))
        except BadStateException as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise LostWorkersError("the workers were lost: " + " ".join(lines[:3])) from error
        except (ManagerLost, WorkerLost) as error:
            return Answer(worker.STOPPED, why=str(error).splitlines()[0])
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            return Answer(worker.FAILED, why=f"{type(error).__name__}: {first}")

    def _done(self, plan: Plan, answer: Answer) -> None:
        self.outcome.done += 1
        self._failures.remove(plan.identity.id)
        if answer.status == worker.DIVERGED:
            self.outcome.diverged += 1
            self._say(f"{plan.result.name}: a node's training loss is no longer finite; kept as diverged")
        self._take(self._follow(plan))
        self._show(self.outcome.done, self._note())

    def _fail(self, plan: Plan, why: str) -> None:
        self.outcome.failed.append(f"{plan.result.name}: {why}")
        self._failures.add(plan.identity.id, plan.identity.name, why)
        self._say(f"failed: {plan.result.name}: {why}")
        self._show(self.outcome.done, self._note())

    def _note(self) -> str:
        return f"{len(self.outcome.failed)} failed" if self.outcome.failed else ""


def check_alive(config: "Config") -> None:
    """Raises LostInterchangeError if it is lost."""
    for executor in config.executors:
        process = getattr(executor, "interchange_proc", None)
        if process is not None and process.poll() is not None:
            raise LostInterchangeError("Parsl's interchange was killed")
