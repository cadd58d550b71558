"""File locks that do not keep others out are told of, once."""

import fcntl
import logging
import socket
import subprocess
import time
from pathlib import Path

import pytest

from dml.parallel import locks
from dml.parallel.ending import Ending
from dml.parallel.locks import check_here, checked
from dml.parallel.owner import Heartbeat
from dml.parallel.worker import _watch


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_where_locks_work_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(locks, "LOOK", 0.05)
    with checked(tmp_path, tmp_path, Ending()):
        check_here(tmp_path)  # flock excludes even the same process, which stands for another host
        time.sleep(0.2)
    assert warnings(caplog) == []
    check_here(tmp_path / "absent")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_file_system_without_locks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def refuse(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with checked(tmp_path, tmp_path / "results", Ending()):
        pass
    said = f"{tmp_path}/results has no file locks (No locks available): never run two sweeps in it at once"
    assert warnings(caplog) == [said]


def test_locks_that_only_this_host_sees(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """A worker's first task on another host looks at the lock, and the scheduler tells the user."""
    monkeypatch.setattr(locks, "LOOK", 0.05)
    with Heartbeat(tmp_path / "heartbeat") as heart, checked(tmp_path, tmp_path, Ending()):
        here = socket.gethostname()
        monkeypatch.setattr(socket, "gethostname", lambda: "x2" if looking else here)
        monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
        looking = True
        _watch(heart.owner)
        looking = False
        until = time.monotonic() + 5
        while not warnings(caplog) and time.monotonic() < until:
            time.sleep(0.02)
    words = (
        f"x2 does not see the file locks that {here} holds in {tmp_path}: never run two sweeps in it at once"
    )
    assert warnings(caplog) == [words]


def test_locks_that_only_one_process_sees(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    taken = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: taken)
    with checked(tmp_path, tmp_path, Ending()):
        pass
    assert warnings(caplog)[0].startswith(f"two processes can hold the same file lock in {tmp_path}")


def test_the_lock_is_given_up_before_its_folder_is_removed(tmp_path: Path):
    """As in a sweep that is told to end: the last step that was added is taken first."""
    ending = Ending()
    with ending.giving_up(lambda: None), checked(tmp_path, tmp_path, ending):
        ending._steps[-1]()
        with (tmp_path / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
