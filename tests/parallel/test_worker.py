"""The task of a sweep, run in this process: it answers whatever happens."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dml import config, results
from dml.config import ExperimentConfig
from dml.parallel import worker
from dml.parallel.owner import Owner, OwnerWatch
from dml.parallel.time_left import TimeLeft
from dml.parallel.worker import Answer, run_task, spec
from dml.plan import make_plan
from dml.results import checkpoint
from dml.results.lock import locked
from dml.results.status import Status

Small = Callable[..., ExperimentConfig]


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner.here(tmp_path / "beat")


def answer(made: ExperimentConfig, owner: Owner) -> Answer:
    found = Answer(**json.loads(run_task(spec(made.flat(), owner))))
    assert found.worker == f"{socket.gethostname()}:{os.getpid()}"
    assert 0 <= time.time() - found.began < 60
    return replace(found, worker="", began=0.0)


def test_without_time_a_task_is_postponed_with_a_checkpoint(
    small: Small, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, over = small(rounds=100), iter([False] * 3 + [True] * 100)
    waited: list[bool] = []
    monkeypatch.setattr(TimeLeft, "over", lambda left: next(over))
    monkeypatch.setattr(TimeLeft, "wait_until_drained", lambda left: waited.append(True))
    assert answer(made, owner).status == worker.TaskStatus.POSTPONED
    assert results.load(make_plan(made).result).attributes["rounds_done"] == 3
    assert checkpoint.rounds(checkpoint.path_of(make_plan(made).result)) == 3
    assert answer(small(seed=1), owner).status == worker.TaskStatus.POSTPONED
    assert not make_plan(small(seed=1)).result.exists()
    assert waited == [True, True]


def test_the_result_is_where_the_scheduler_expects_it(small: Small, owner: Owner) -> None:
    made = small()
    assert answer(made, owner) == Answer(Status.COMPLETE)
    assert results.load(make_plan(made).result).attributes["status"] == "complete"


def test_paths_do_not_depend_on_the_workers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Owner
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.txt").write_text("0 1\n1 0\n")
    flags = config.make({"topology_file": "graph.txt", "out_dir": "out"}).flat()
    sent = json.loads(spec(flags, owner))
    assert sent["flags"]["topology_file"] == str(tmp_path / "graph.txt")
    assert sent["flags"]["out_dir"] == str(tmp_path / "out")
    assert os.path.isabs(sent["flags"]["data_dir"])
    assert Owner.from_dict(sent["owner"]) == owner
    assert (
        json.loads(spec({**flags, "topology_file": "cycle:n=4"}, owner))["flags"]["topology_file"]
        == "cycle:n=4"
    )


def test_an_experiment_that_another_process_runs_is_locked(small: Small, owner: Owner) -> None:
    plan = make_plan(small())
    plan.result.parent.mkdir(parents=True)
    with locked(plan.result, plan.identity.id):
        found = answer(plan.config, owner)
    assert found.status == worker.TaskStatus.LOCKED
    assert f"process {os.getpid()}" in found.why


def test_a_failure_is_an_answer_with_its_first_line(
    small: Small, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory\nand a long story")

    monkeypatch.setattr("dml.experiment.run", fails)
    assert answer(small(), owner) == Answer(worker.TaskStatus.FAILED, "RuntimeError: out of memory")
    assert json.loads(run_task("no JSON"))["status"] == worker.TaskStatus.FAILED


def test_an_owner_that_is_lost_stops_a_task_before_it_begins_and_in_its_course(
    small: Small, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looks = small(rounds=100), iter([False] * 3 + [True] * 100)
    monkeypatch.setattr(OwnerWatch, "lost", lambda watch: next(looks))
    assert answer(made, owner).status == worker.TaskStatus.STOPPED
    held = results.load(make_plan(made).result).attributes["rounds_done"]
    assert 1 < held < 100
    monkeypatch.setattr(OwnerWatch, "lost", lambda watch: False)
    assert answer(small(rounds=1), owner) == Answer(Status.RUNNING), "it holds more rounds than that"
    monkeypatch.setattr(OwnerWatch, "lost", lambda watch: True)
    assert answer(small(seed=1), owner) == Answer(worker.TaskStatus.STOPPED, "the scheduler has ended")
    assert not make_plan(small(seed=1)).result.exists()
