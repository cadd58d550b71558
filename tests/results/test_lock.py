"""One writer an experiment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dml.errors import UnwritableFileError
from dml.results.lock import LockedError, locked

HOLD = """
import sys
from pathlib import Path
from dml.results.lock import LockedError, locked
try:
    with locked(Path(sys.argv[1]), "0123456789ab"):
        print("held", flush=True)
        sys.stdin.read()
except LockedError as error:
    print(error, flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, until its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.h5")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def _take(folder: Path) -> None:
    with locked(folder / "a.h5", "0123456789ab"):
        pass


def test_a_second_process_is_told_who_holds_it(tmp_path):
    with locked(tmp_path / "a.h5", "0123456789ab"):
        done = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path / "a.h5")],
            input="",
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert f"process {os.getpid()} on " in done.stdout
    assert "held" not in done.stdout


def test_the_holder_keeps_it_when_another_is_refused(tmp_path, holder):
    for _ in range(2):
        with pytest.raises(LockedError, match=f"process {holder.pid} on "):
            _take(tmp_path)


def test_it_is_free_once_its_holder_is_killed(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _take(tmp_path)


def test_nothing_is_left_after_its_release(tmp_path, holder):
    holder.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_an_exception(tmp_path):
    def fail() -> None:
        with locked(tmp_path / "a.h5", "0123456789ab"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
    _take(tmp_path)


def test_experiments_of_one_folder_do_not_lock_each_other(tmp_path):
    with locked(tmp_path / "a.h5", "0123456789ab"), locked(tmp_path / "b.h5", "ba9876543210"):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_holder_that_has_not_said_who_it_is_still_holds_it(tmp_path, holder):
    (lock,) = tmp_path.iterdir()
    os.truncate(lock, 0)
    with pytest.raises(LockedError, match="another process"):
        _take(tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "is a pipe and not a regular file; remove it"),
        (os.mkdir, r"cannot be written \(Is a directory\); remove it"),
        (lambda path: os.symlink(path, path), r"cannot be written \(Too many levels of .*\); remove it"),
        (lambda path: os.symlink("/dev/zero", path), "is a device and not a regular file; remove it"),
    ],
    ids=["pipe", "folder", "loop", "device"],
)
def test_what_can_be_no_lock_is_named_and_stays(make, words, tmp_path):
    make(tmp_path / ".0123456789ab.lock")
    with pytest.raises(UnwritableFileError, match=words):
        _take(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
