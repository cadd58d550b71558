"""The fan-out: tasks in real workers, and what becomes of them when something is lost."""

import os
import socket
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from dml.errors import LostInterchangeError, LostWorkersError
from dml.parallel import fanout
from dml.parallel.ending import Ending
from dml.parallel.fanout import LostTaskError, Workers
from dml.parallel.jobs import Jobs
from dml.parallel.limits import Limits
from dml.parallel.owner import Owner
from dml.parallel.sites import load_site

SITES = Path(__file__).parents[2] / "parsl_configs"


def test_texts_go_to_workers_answers_come_back_and_nothing_is_left(tmp_path: Path) -> None:
    before = set(psutil.process_iter())
    _three_tasks(tmp_path)
    started = [p for p in psutil.process_iter() if p not in before and str(tmp_path) in _words(p)]
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_an_interchange_that_is_killed_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: Any = SimpleNamespace(executors=[SimpleNamespace(interchange_proc=None)])

    def load(config: Any) -> None:
        config.executors[0].interchange_proc = SimpleNamespace(poll=lambda: -9)
        time.sleep(30)

    monkeypatch.setattr("parsl.load", load)
    begun = time.monotonic()
    with pytest.raises(LostInterchangeError, match="while it started"):
        fanout._load(config)
    assert time.monotonic() - begun < 5


def test_what_a_killed_call_has_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = Owner("HOST", 2**22 - 1, 1.0, "")  # No process has this number.
    folders = {
        "killed here": (replace(gone, host=socket.gethostname()).signature, 0.0, False),
        "alive": (Owner.here(tmp_path).signature, 0.0, True),
        "elsewhere": (gone.signature, 0.0, True),
        "elsewhere, long ago": (gone.signature, 2 * 24 * 3600.0, False),
        "logs of workers that failed": (None, 2 * 24 * 3600.0, True),
        "damaged": ("?", 2 * 24 * 3600.0, True),
    }
    for name, (beat, age, _) in folders.items():
        (tmp_path / name / "certificates").mkdir(parents=True)
        if beat is not None:
            heartbeat = tmp_path / name / "heartbeat"
            heartbeat.write_text(f"{beat}7")
            os.utime(heartbeat, (time.time() - age,) * 2)
    fanout._remove_abandoned(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {name for name, (_, _, stays) in folders.items() if stays}


def _three_tasks(folder: Path) -> None:
    site = load_site("local", SITES)
    with fanout.workers(
        os.path.basename, site, {"workers": "2"}, folder / "parsl" / "one", Ending(), Jobs(Limits()), Limits()
    ) as workers:
        assert workers.owner.pid == os.getpid()
        assert Path(workers.owner.heartbeat).read_text().startswith(workers.owner.signature)
        futures = [workers.submit(f"folder/{name}") for name in "abc"]
        done: set[Future[str]] = set()
        while len(done) < 3:
            done |= workers.ready([f for f in futures if f not in done], timeout=30)
        assert [workers.answer(future) for future in futures] == ["a", "b", "c"]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return _workers(tmp_path, exit_status=None)


def _workers(folder: Path, exit_status: int | None) -> Workers:
    interchange = SimpleNamespace(poll=lambda: exit_status)
    config: Any = SimpleNamespace(executors=[SimpleNamespace(interchange_proc=interchange)])
    return Workers(Owner.here(folder / "beat"), config, Jobs(Limits()), lambda text: Future())


def _ended(result: str | Exception) -> "Future[str]":
    future: Future[str] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def test_only_futures_that_have_ended_are_ready(workers: Workers) -> None:
    open_one, ended = workers.submit("x"), _ended("y")
    assert workers.ready([open_one, ended], timeout=0) == {ended}
    assert workers.ready([open_one], timeout=0) == set()


def test_nobody_waits_for_a_lost_interchange(tmp_path: Path) -> None:
    lost = _workers(tmp_path, exit_status=-9)
    with pytest.raises(LostInterchangeError):
        lost.ready([lost.submit("x")], timeout=0)


@pytest.mark.parametrize(
    ("raised", "seen", "words"),
    [
        (WorkerLost(3, "host"), LostTaskError, "loss of worker 3 on host host"),
        (ManagerLost(b"m1", "host"), LostTaskError, "loss of manager m1 on host host"),
        (
            BadStateException(SimpleNamespace(label="local"), "first\n\nsecond\nthird\nfourth"),
            LostWorkersError,
            "^the workers were lost: .*first second third$",
        ),
        (MemoryError("full"), MemoryError, "full"),
    ],
)
def test_what_was_lost_is_told_apart(
    workers: Workers, raised: Exception, seen: type[Exception], words: str
) -> None:
    with pytest.raises(seen, match=words):
        workers.answer(_ended(raised))


def test_an_answer_is_the_tasks_text(workers: Workers) -> None:
    assert workers.answer(_ended("text")) == "text"
