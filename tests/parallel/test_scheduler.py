"""Who is given which experiment, how often, and what is told; workers are stand-ins that answer at once."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import pytest

from dml import config, experiment
from dml.errors import FailingWorkersError, LostInterchangeError, LostWorkersError, NoMoreWorkersError
from dml.parallel import scheduler as module
from dml.parallel import worker
from dml.parallel.fanout import LostTaskError
from dml.parallel.owner import Owner
from dml.parallel.scheduler import TRIES, Scheduler
from dml.parallel.worker import Answer
from dml.plan import Plan, make_plan
from dml.results.checkpoint import path_of
from dml.results.lock import locked
from dml.results.replaced import Replacing
from dml.results.status import Status

Reply = Callable[[int, int], "Answer | Exception"]
"""From the seed of an experiment, and how often it was given to a worker before, to what its task does."""


class StandIn:
    """Workers that answer by a function."""

    def __init__(self, folder: Path, reply: Reply) -> None:
        self.owner, self._reply = Owner.here(folder / "beat"), reply
        self.given: list[int] = []
        self.started = 0

    @contextmanager
    def start(self) -> Iterator[Any]:
        self.started += 1
        yield self

    def submit(self, text: str) -> "Future[str]":
        seed = json.loads(text)["flags"]["seed"]
        reply = self._reply(seed, self.given.count(seed))
        self.given.append(seed)
        future: Future[str] = Future()
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply.to_json())
        return future

    def ready(self, futures: Any, timeout: float) -> "set[Future[str]]":
        return {next(iter(futures))}

    def answer(self, future: "Future[str]") -> str:
        return future.result()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "COME_BACK", 0.0)
    monkeypatch.setattr(Scheduler, "_check_results", lambda scheduler: None)  # Stand-ins write no files.
    caplog.set_level(logging.INFO, logger="dml")


def plans(folder: Path, count: int = 3) -> list[Plan]:
    flags = {"topology_file": "cycle:n=4", "out_dir": folder, "rounds": 2, "epochs": 1}
    return [make_plan(config.make({**flags, "seed": seed})) for seed in range(count)]


CHECK_RESULTS = Scheduler._check_results
COMPLETE = Answer(Status.COMPLETE)


def run(folder: Path, reply: Reply, **options: Any) -> tuple[Scheduler, StandIn, list[tuple[int, str, int]]]:
    scheduler, stand_in = Scheduler(plans(folder), folder, **options), StandIn(folder, reply)
    shown: list[tuple[int, str, int]] = []
    scheduler.run(stand_in.start, lambda done, note, total: shown.append((done, note, total)))
    return scheduler, stand_in, shown


def failures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())["failed"]
    return found


def test_each_experiment_is_given_to_a_worker_once_and_counted(tmp_path: Path) -> None:
    scheduler, workers, shown = run(tmp_path, lambda seed, before: COMPLETE)
    assert workers.given == [0, 1, 2]
    assert (scheduler.outcome.total, scheduler.outcome.done, scheduler.outcome.failed) == (3, 3, [])
    assert shown == [(1, "", 3), (2, "", 3), (3, "", 3)]
    assert not (tmp_path / "sweep.json").exists()


def test_what_fails_is_named_and_noted_and_the_others_go_on(tmp_path: Path) -> None:
    def reply(seed: int, before: int) -> Answer | Exception:
        return {0: Answer(worker.TaskStatus.FAILED, "no room"), 1: ValueError("odd\nvery odd")}.get(
            seed, COMPLETE
        )

    scheduler, workers, shown = run(tmp_path, reply)
    assert workers.given == [0, 1, 2]
    assert scheduler.outcome.done == 1
    assert [line.partition(": ")[2] for line in scheduler.outcome.failed] == ["no room", "ValueError: odd"]
    assert [entry["why"] for entry in failures(tmp_path).values()] == ["no room", "ValueError: odd"]
    assert shown[-1] == (1, "2 failed", 3)


def test_a_call_after_a_failure_says_so_and_clears_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, lambda seed, before: COMPLETE if seed else Answer(worker.TaskStatus.FAILED, "no room"))
    caplog.clear()
    run(tmp_path, lambda seed, before: COMPLETE)
    assert "retrying 1 experiment that failed in an earlier call" in caplog.messages
    assert failures(tmp_path) == {}


def test_a_stopped_experiment_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    stopped = Answer(worker.TaskStatus.STOPPED, "asked to by SIGTERM")
    scheduler, workers, _ = run(tmp_path, lambda seed, before: COMPLETE if seed or before == 1 else stopped)
    assert workers.given == [0, 1, 2, 0]
    assert scheduler.outcome.failed == []
    scheduler, workers, _ = run(tmp_path, lambda seed, before: COMPLETE if seed else stopped)
    assert workers.given.count(0) == TRIES
    assert len(scheduler.outcome.failed) == 1


def test_tries_count_only_if_no_round_was_added(tmp_path: Path) -> None:
    first, *_ = plans(tmp_path)

    def reply(seed: int, before: int) -> Answer:
        if seed or before == 3 * TRIES:
            return COMPLETE
        with h5py.File(path_of(first.result), "w") as file:
            file.attrs["rounds"] = before + 1
        return Answer(worker.TaskStatus.STOPPED, "asked to by SIGTERM")

    scheduler, workers, _ = run(tmp_path, reply)
    assert workers.given.count(0) == 3 * TRIES + 1
    assert scheduler.outcome.failed == []


def test_a_lost_worker_counts_as_stopped(tmp_path: Path) -> None:
    scheduler, workers, _ = run(
        tmp_path, lambda seed, before: COMPLETE if seed or before else LostTaskError("worker 1 was lost")
    )
    assert workers.given == [0, 1, 2, 0]
    assert scheduler.outcome.failed == []


def test_an_experiment_of_another_process_is_looked_at_again_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    locked = Answer(worker.TaskStatus.LOCKED, "process 7 on host has been running it")
    scheduler, workers, _ = run(tmp_path, lambda seed, before: COMPLETE if seed or before == 5 else locked)
    assert workers.given.count(0) == 6
    assert scheduler.outcome.done == 3
    assert sum("process 7" in message for message in caplog.messages) == 1


def test_a_diverged_experiment_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scheduler, _, _ = run(tmp_path, lambda seed, before: Answer(Status.DIVERGED))
    assert (scheduler.outcome.done, scheduler.outcome.failed) == (3, [])
    assert sum("kept as diverged" in message for message in caplog.messages) == 3


def test_a_stalled_experiment_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scheduler, _, _ = run(tmp_path, lambda seed, before: Answer(Status.STALLED))
    assert (scheduler.outcome.done, scheduler.outcome.failed) == (3, [])
    assert sum("kept as stalled" in message for message in caplog.messages) == 3


def test_lost_workers_are_started_again_for_what_they_had(tmp_path: Path) -> None:
    def reply(seed: int, before: int) -> Answer | Exception:
        return LostWorkersError("all gone") if seed == 1 and not before else COMPLETE

    scheduler, workers, _ = run(tmp_path, reply)
    assert workers.started == 2
    assert workers.given == [0, 1, 2, 1, 2], "0 was done before they were lost"
    assert scheduler.outcome.done == 3


def test_workers_that_are_lost_again_and_again_end_the_sweep(tmp_path: Path) -> None:
    scheduler, workers = (
        Scheduler(plans(tmp_path), tmp_path),
        StandIn(tmp_path, lambda seed, before: LostWorkersError("all gone")),
    )
    with pytest.raises(FailingWorkersError, match=f"lost {TRIES} times .* all gone"):
        scheduler.run(workers.start, lambda done, note, total: None)
    assert workers.started == TRIES
    assert not (tmp_path / "sweep.json").exists(), "no experiment has failed"


def test_workers_that_are_lost_are_started_as_long_as_rounds_are_added(tmp_path: Path) -> None:
    first, *_ = plans(tmp_path)

    def reply(seed: int, before: int) -> Answer | Exception:
        if before > 3 * TRIES:
            return COMPLETE
        with h5py.File(path_of(first.result), "w") as file:
            file.attrs["rounds"] = before + 1
        return LostWorkersError("the walltime of the job")

    scheduler, workers, _ = run(tmp_path, reply)
    assert workers.started > 3 * TRIES
    assert scheduler.outcome.done == 3


def test_a_result_that_was_removed_meanwhile_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scheduler, "_check_results", CHECK_RESULTS)
    first, second, third = plans(tmp_path)

    def reply(seed: int, before: int) -> Answer:
        first.result.touch()
        return COMPLETE

    scheduler, _, shown = run(tmp_path, reply)
    assert [line.partition(":")[0] for line in scheduler.outcome.failed] == [
        second.result.name,
        third.result.name,
    ]
    assert scheduler.outcome.done == 1
    assert shown[-1] == (1, "2 failed", 3)


@pytest.mark.parametrize("error", [LostInterchangeError, NoMoreWorkersError])
def test_if_no_workers_can_be_started_the_sweep_ends_at_once(
    tmp_path: Path, error: type[LostWorkersError]
) -> None:
    scheduler, workers = (
        Scheduler(plans(tmp_path), tmp_path),
        StandIn(tmp_path, lambda seed, before: error("gone")),
    )
    with pytest.raises(error):
        scheduler.run(workers.start, lambda done, note, total: None)
    assert workers.started == 1


def test_further_experiments_follow_on_one_that_is_done(tmp_path: Path) -> None:
    more = plans(tmp_path, 5)[3:]
    scheduler, workers, shown = run(
        tmp_path, lambda seed, before: COMPLETE, follow=lambda plan: more if plan.config.run.seed == 1 else []
    )
    assert workers.given == [0, 1, 2, 3, 4]
    assert scheduler.outcome.total == 5
    assert shown[-1] == (5, "", 5)


def test_fresh_waits_for_what_another_call_runs_and_then_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = plans(tmp_path)
    experiment.run(first.config)
    held = contextlib.ExitStack()
    held.enter_context(locked(first.result, first.identity.id))

    def sleep(seconds: float) -> None:
        held.close()  # The other call ends.

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    scheduler = Scheduler([first], tmp_path, replacing=Replacing(tmp_path))
    workers = StandIn(tmp_path, lambda seed, before: COMPLETE)
    assert first.result.exists()
    scheduler.run(workers.start, lambda done, note, total: None)
    assert workers.given == [0]
    assert not first.result.exists()
    assert [path.name for path in tmp_path.glob("replaced/*/*.h5")] == [first.result.name]


def test_results_that_are_there_are_not_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = plans(tmp_path)
    experiment.run(first.config)
    second.result.write_bytes(b"damaged")
    followed: list[Plan] = []
    scheduler = Scheduler([first, second, third], tmp_path, lambda plan: followed.append(plan) or [])
    assert scheduler.left == 1
    assert (scheduler.outcome.done, scheduler.outcome.skipped) == (1, 1)
    assert scheduler.outcome.failed[0].startswith(f"{second.result.name}: cannot be read ("), "its name once"
    assert followed == [first]


def test_a_failure_whose_reason_begins_with_the_result_file_names_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    some = plans(Path("out"))  # Workers name it by its absolute path, and this process as the user did.
    whole = tmp_path / some[0].result
    workers = StandIn(tmp_path, lambda seed, before: Answer("failed", f"{whole} cannot be read (odd)"))
    scheduler = Scheduler(some[:1], tmp_path)
    scheduler.run(workers.start, lambda *shown: None)
    assert scheduler.outcome.failed == [f"{whole.name}: cannot be read (odd)"]


def test_a_folder_that_is_removed_is_named_when_a_failure_is_noted(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def reply(seed: int, before: int) -> Answer:
        shutil.rmtree(folder, ignore_errors=True)
        return Answer(worker.TaskStatus.FAILED, "no room")

    scheduler, workers = Scheduler(plans(folder), folder), StandIn(tmp_path, reply)
    with pytest.raises(NoMoreWorkersError, match="out was removed while its workers ran"):
        scheduler.run(workers.start, lambda done, note, total: None)
