"""What a sweep tells other terminals: its status file, its log, and what status.py prints of them."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from scripts import Script

from dml.parallel import live as module
from dml.parallel import running, status_main
from dml.parallel.live import FILE, LOG, Counts, Live
from dml.parallel.running import Note, Running
from dml.parallel.worker import Answer, TaskStatus
from dml.results.status import Status


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FILE).read_text())
    return found


def test_a_worker_notes_what_it_runs_and_removes_the_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PERIOD", 0.0)
    with Note(tmp_path, "a.h5", 100.0, 40) as note:
        (one,) = running.read(tmp_path)
        assert (one.name, one.since, one.round, one.rounds) == ("a.h5", 100.0, 0, 40)
        note.round_done(8)  # It has continued from round 7.
        note.round_done(9)
        assert running.read(tmp_path) == [Running("a.h5", one.worker, 100.0, 7, 9, 40)]
    assert running.read(tmp_path) == []


def test_notes_are_rare_and_broken_ones_are_passed_over(tmp_path: Path) -> None:
    with Note(tmp_path, "a.h5", 100.0, 40) as note:
        note.round_done(1)
        assert running.read(tmp_path)[0].round == 0
        (tmp_path / running.FOLDER / "x").write_text('{"name": ')
        (tmp_path / running.FOLDER / "y").write_text("[]")
        assert len(running.read(tmp_path)) == 1


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with Note(tmp_path / "gone", "a.h5", 100.0, 40) as note:
        note.round_done(1)


def test_the_status_is_renewed_while_the_sweep_runs_and_written_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.05)
    counts = Counts(total=10, done=4, skipped=3, failed={"b.h5": "no room"}, elsewhere=2)
    shown: list[str] = []
    sweep = Live(tmp_path, ends_at=time.time() + 3600)
    sweep._started -= 100.0  # It has run for 100 s.
    with (
        Note(tmp_path, "digits-x-0123456789ab.h5", time.time() - 50, 40),
        sweep.watching(tmp_path, lambda: counts, shown.append),
    ):
        assert status(tmp_path)["running"] == []
        until = time.monotonic() + 10
        while not status(tmp_path)["running"] and time.monotonic() < until:
            time.sleep(0.02)
        values = status(tmp_path)
    assert values["state"] == "running"
    assert (values["done"], values["left"], values["elsewhere"]) == (4, 5, 2)
    assert values["failed"] == {"b.h5": "no room"}
    # One experiment of this call in 100 s, and five to go; the three before it do not count.
    assert values["seconds_left"] == pytest.approx(500, abs=10)
    assert shown[-1] == "digits-x 0/40"
    assert (status(tmp_path)["state"], status(tmp_path)["running"]) == ("ended", [])
    kinds = [line.split()[1:3] for line in (tmp_path / LOG).read_text().splitlines()]
    assert kinds == [["call", "starts"], ["start", "digits-x-0123456789ab.h5"], ["call", "ends"]]


def test_half_done_experiments_count_for_the_time_that_is_left() -> None:
    sweep = Live(Path())
    sweep._started = time.time() - 60
    half = [Running("a", "w", 0.0, first=10, round=20, rounds=20)]
    assert sweep._seconds_left(Counts(total=2), half) == pytest.approx(60 / 0.5 * 1.5, abs=1)
    assert sweep._seconds_left(Counts(total=2), []) is None


def test_the_log_has_a_line_per_start_and_end(tmp_path: Path) -> None:
    sweep = Live(tmp_path)
    began = time.time() - 5
    sweep._log_start("a.h5", "host:1", began)
    sweep.experiment_ended("a.h5", Answer(Status.COMPLETE, "", "host:1", began))
    sweep.experiment_ended("b.h5", Answer(TaskStatus.STOPPED, "the worker was lost"))
    sweep.experiment_ended("c.h5", Answer(TaskStatus.FAILED, "no room", "host:2", began))
    sweep.experiment_ended("d.h5", Answer(TaskStatus.LOCKED, "process 7", "host:2", began))
    lines = [line.split("  ", 1)[1] for line in (tmp_path / LOG).read_text().splitlines()]
    assert [re.sub(r"\d+ s", "5 s", line) for line in lines] == [
        "start  a.h5  on host:1",
        "end    a.h5  complete after 5 s",
        "end    b.h5  stopped: the worker was lost",
        "start  c.h5  on host:2",
        "end    c.h5  failed after 5 s: no room",
    ]


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOG)
    Live(tmp_path).experiment_ended("a.h5", Answer(Status.COMPLETE))


def written(folder: Path, **counts: Any) -> dict[str, Any]:
    sweep = Live(folder)
    sweep._counts = lambda: Counts(**counts)
    sweep._write("running", [Running("digits-a.h5", "host:1", time.time() - 65, 0, 12, 40)])
    return status(folder)


def test_status_py_says_how_far_what_runs_and_what_failed(script: Script, tmp_path: Path) -> None:
    written(tmp_path, total=18, done=12, skipped=6, failed={"b.h5": "no room"}, elsewhere=2)
    called = script("status.py", ".")
    assert called.returncode == 0, called.stderr
    for words in (
        "12 of 18 experiments are done, 6 of them before this call",
        "5 to go",
        "2 experiments are run by another call",
        "round 12 of 40 on host:1, for 1 min ",
        "b.h5: no room",
        LOG,
    ):
        assert words in called.stdout
    assert all(len(line) <= 80 for line in called.stdout.splitlines())


def test_status_py_tells_an_end_from_a_killed_call(tmp_path: Path) -> None:
    values = written(tmp_path, total=2, done=1)
    assert "1 to go" in status_main.text(values, tmp_path, age=3.0)
    assert "was killed" in status_main.text(values, tmp_path, age=600.0)
    ended = status_main.text({**values, "state": "ended"}, tmp_path, age=1e6)
    assert "the same command continues" in ended
    assert "1 experiment is run by another call" in status_main.text(
        {**values, "elsewhere": 1}, tmp_path, 3.0
    )


def test_status_py_watches_until_the_end(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = written(tmp_path, total=2, done=1)

    def next_look(seconds: float) -> None:
        (tmp_path / FILE).write_text(json.dumps({**values, "state": "ended", "done": 2, "left": 0}))

    monkeypatch.setattr(status_main.time, "sleep", next_look)
    called = script("status.py", ".", "--watch")
    assert called.returncode == 0
    assert "1 of 2" in called.stdout
    assert "2 of 2" in called.stdout
    assert "nothing is left" in called.stdout


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "holds no status.json"),
        ("{", 1, "is damaged"),
        ("[]", 1, "is damaged"),
        ('{"version": 9}', 1, "9"),
        ('{"version": "1"}', 1, "'1'"),
        ('{"version": 1}', 1, "is damaged"),
        ('{"version": 1, "updated": 5}', 1, "is damaged"),
        ('{"version": 1, "updated": "x", "state": "running"}', 1, "is damaged"),
        ('{"version": 1, "updated": "2026-11-21T22:18:16", "state": "running", "done": 1}', 1, "is damaged"),
        ("[" * 100_000, 1, "is damaged"),
    ],
)
def test_status_py_names_what_it_cannot_read(
    script: Script, tmp_path: Path, content: str | None, code: int, words: str
) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    called = script("status.py", ".")
    assert called.returncode == code
    assert words in called.stderr
    assert "Traceback" not in called.stderr
