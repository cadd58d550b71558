"""Workers that are killed: within a task they are replaced, and between tasks their pool ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path

import psutil
import pytest

from dml.errors import LostWorkersError
from dml.parallel import fanout
from dml.parallel.ending import Ending
from dml.parallel.failing_workers import ForkedWorkers, SpawnedWorkers
from dml.parallel.fanout import LostTaskError, Workers
from dml.parallel.jobs import Jobs
from dml.parallel.limits import Limits
from dml.parallel.sites import load_site

SITES = Path(__file__).parents[2] / "parsl_configs"

# Workers that are pinned are new Python processes, and the others are forked.
PINNED = """
import importlib.util

spec = importlib.util.spec_from_file_location("local", {local!r})
local = importlib.util.module_from_spec(spec)
spec.loader.exec_module(local)
OPTIONS = local.OPTIONS

def make_config(options):
    config = local.make_config(options)
    config.executors[0].cpu_affinity = "list:0:0"
    return config
"""

LIMIT = 30.0
"""Seconds in which tasks are answered, or their workers are said to be lost."""

ME = "__import__('time').sleep(0.5) or str(__import__('os').getpid())"
"""The task of saying which process runs it; so long that the other worker takes the next one."""

KILL = f"__import__('os').kill(__import__('os').getpid(), {signal.SIGKILL:d})"


@pytest.fixture(params=["forked", "pinned"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "forked":
        return "local"
    (tmp_path / "pinned.py").write_text(PINNED.format(local=str(SITES / "local.py")))
    return str(tmp_path / "pinned.py")


@contextmanager
def _two(site: str, folder: Path) -> Iterator[Workers]:
    """Two workers, whose tasks are Python expressions."""
    jobs, limits = Jobs(Limits()), Limits()
    options = {"workers": "2"}
    with fanout.workers(
        eval, load_site(site, SITES), options, folder / "parsl" / "one", Ending(), jobs, limits
    ) as two:
        yield two


def _answers(workers: Workers, *tasks: str) -> list[str]:
    futures = [workers.submit(task) for task in tasks]
    until = time.monotonic() + LIMIT
    while not all(future.done() for future in futures):
        assert time.monotonic() < until, "the workers neither answer nor are they lost"
        workers.ready([future for future in futures if not future.done()], timeout=1.0)
    return [workers.answer(future) for future in futures]


def _both(workers: Workers) -> list[psutil.Process]:
    """The processes of both workers, once both have had a task."""
    seen: set[str] = set()
    until = time.monotonic() + LIMIT
    while len(seen) < 2:
        assert time.monotonic() < until, "one worker takes all tasks"
        seen.update(_answers(workers, ME, ME))
    return [psutil.Process(int(pid)) for pid in seen]


@pytest.mark.slow
def test_when_idle_workers_are_killed_nobody_waits_for_the_locks_that_they_hold(
    site: str, tmp_path: Path
) -> None:
    with _two(site, tmp_path) as workers:
        # One of two waits for a task, and the other for the lock that the first one holds.
        for process in _both(workers):
            process.kill()
        with pytest.raises(LostWorkersError, match="killed between two tasks"):
            _answers(workers, "'lost'")


@pytest.mark.slow
def test_a_worker_that_is_killed_within_a_task_is_replaced(site: str, tmp_path: Path) -> None:
    with _two(site, tmp_path) as workers:
        one, other = _both(workers)
        with pytest.raises(LostTaskError):
            _answers(workers, KILL)
        assert sum(process.is_running() for process in (one, other)) == 1
        (left,) = [process for process in (one, other) if process.is_running()]
        now = _both(workers)
        assert left in now, "the pool has ended"
        assert len({*now, one, other}) == 3


@pytest.mark.slow
def test_idle_workers_that_are_killed_when_nothing_is_left_to_do_change_nothing(tmp_path: Path) -> None:
    with _two("local", tmp_path) as workers:
        both = _both(workers)
        pool = psutil.Process(both[0].ppid()).parent()
        assert pool is not None
        for process in both:
            process.kill()
        _, alive = psutil.wait_procs([pool], timeout=LIMIT)
        assert alive == []
    assert list(tmp_path.iterdir()) == []


def _answer_and_die(queue: "Queue[str]", answer: str) -> None:
    queue.put(answer)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("context", [ForkedWorkers(), SpawnedWorkers()])
def test_an_answer_is_written_and_no_lock_held_before_the_worker_goes_on(
    context: ForkedWorkers | SpawnedWorkers,
) -> None:
    queue = context.Queue()
    for answer in ("first", "second"):
        worker = context.Process(target=_answer_and_die, args=(queue, answer), name=f"{context}-{answer}")
        worker.start()
        assert queue.get(timeout=LIMIT) == answer
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    # What the pool's own process puts is written by a thread, as that process must not wait.
    for number in range(10_000):
        queue.put(str(number))
    assert [queue.get(timeout=LIMIT) for _ in range(10_000)] == [str(number) for number in range(10_000)]
