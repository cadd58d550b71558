"""Signs of life: who shows them, and when an owner counts as lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dml.parallel.owner import Heartbeat, Owner, OwnerWatch


def wait_until(fact: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def here(tmp_path: Path) -> Owner:
    return Owner.here(tmp_path / "beat")


def test_an_owner_survives_json(here: Owner) -> None:
    assert Owner.from_dict(here.to_dict()) == here


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield sleeping
    sleeping.kill()
    sleeping.wait()


def owner_of(process: subprocess.Popen[bytes], here: Owner) -> Owner:
    return replace(here, pid=process.pid, started=psutil.Process(process.pid).create_time())


def test_a_living_process_is_never_lost(process: subprocess.Popen[bytes], here: Owner) -> None:
    watch = OwnerWatch(owner_of(process, here), patience=0)
    time.sleep(0.05)
    assert not watch.lost()


def test_a_dead_process_is_lost_after_the_patience(process: subprocess.Popen[bytes], here: Owner) -> None:
    watch = OwnerWatch(owner_of(process, here), patience=0.4)
    process.kill()  # and not waited for: a zombie counts as dead
    assert wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, 3)
    assert not watch.lost()
    time.sleep(0.5)
    assert watch.lost()


def test_a_later_process_of_the_same_id_is_another(here: Owner) -> None:
    watch = OwnerWatch(replace(here, started=here.started - 100), patience=0)
    time.sleep(0.01)
    assert watch.lost()


def test_beats_from_another_host_count_by_content(here: Owner, tmp_path: Path) -> None:
    there = replace(here, host="elsewhere")
    beat = tmp_path / "beat"
    beat.write_text(f"{there.signature}1\n")
    watch = OwnerWatch(there, patience=0.3)
    for count in (2, 3):
        time.sleep(0.4)  # rounds longer than the patience
        beat.write_text(f"{there.signature}{count}\n")
        assert not watch.lost()
    os.utime(beat)
    time.sleep(0.4)
    assert watch.lost(), "a new time without a new beat is no sign of life"
    beat.write_text(f"{there.signature}4\n")
    assert watch.lost(), "a task that has decided to stop does not go on"


def test_another_owner_in_the_same_file_is_no_sign_of_life(here: Owner, tmp_path: Path) -> None:
    watch = OwnerWatch(replace(here, host="elsewhere"), patience=0.2)
    with Heartbeat(tmp_path / "beat", period=0.05):
        assert wait_until(watch.lost, 2)


def test_the_heart_beats_while_entered(here: Owner, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "beat"
    with Heartbeat(path, period=0.02) as heart:
        assert heart.owner == replace(here, heartbeat=str(path))
        first = path.read_text()
        assert first.startswith(heart.owner.signature)
        assert wait_until(lambda: path.read_text() != first, 2)
    assert list(path.parent.iterdir()) == []
