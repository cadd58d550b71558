"""Copies of data sets on a host's own disk: made once, complete, and used by its workers."""

import errno
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from dml.data import stage as module
from dml.data.images import Images, KeptImages, write_images
from dml.data.kept import copy_folder, is_kept
from dml.data.stage import VARIABLE, nearest_data_dir, stage
from dml.errors import InputError


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A data folder with two small images as mnist."""
    return kept(tmp_path / "shared", pixel=7)


def kept(folder: Path, pixel: int) -> Path:
    x, y = np.full((2, 1, 2, 2), pixel, np.uint8), np.array([0, 1])
    write_images(folder / "mnist", Images(x, y, x, y, ("0", "1")), "a test")
    return folder


def pixel(folder: Path) -> int:
    return int(KeptImages(folder, "mnist", "").load().train_x[0, 0, 0, 0])


def test_a_copy_is_made_once_and_again_when_the_data_are_others(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copies = []
    monkeypatch.setattr(module, "copy_folder", lambda *paths: (copies.append(paths), copy_folder(*paths)))
    to = tmp_path / "disk" / "data"
    threads = [threading.Thread(target=stage, args=("mnist", shared, to)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copies) == 1, "the others waited"
    assert pixel(to / "mnist") == 7
    kept(shared, pixel=9)
    assert pixel(stage("mnist", shared, to)) == 9
    assert {path.name for path in to.iterdir()} == {"mnist", ".mnist.lock"}


def test_workers_read_the_copy_of_their_host(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert nearest_data_dir("mnist", shared) == shared
    monkeypatch.setenv("JOB_DISK", str(tmp_path / "disk"))
    monkeypatch.setenv(VARIABLE, "$JOB_DISK/data")
    assert nearest_data_dir("mnist", shared) == tmp_path / "disk" / "data"
    assert is_kept(tmp_path / "disk" / "data" / "mnist")
    # What has no files, and a folder of images, whose path is its name, are where they are.
    assert nearest_data_dir("digits", shared) == nearest_data_dir("/my/images", shared) == shared


def test_workers_without_a_copy_read_the_shared_folder(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(VARIABLE, "$NO_SUCH_VARIABLE/data")
    assert nearest_data_dir("mnist", shared) == shared
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    assert nearest_data_dir("mnist", shared) == shared
    first, second = capsys.readouterr().err.splitlines()
    assert "holds a variable that this host does not have" in first
    assert second == f"mnist is read from {shared}: to {tmp_path / 'file'}: cannot be written (File exists)"


def test_nobody_waits_for_ever_for_another_process_that_copies(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    to = tmp_path / "disk"
    begun, go_on = threading.Event(), threading.Event()

    def copy(*paths: Path) -> None:
        begun.set()
        go_on.wait()
        copy_folder(*paths)

    monkeypatch.setattr(module, "copy_folder", copy)
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    first = threading.Thread(target=stage, args=("mnist", shared, to))
    first.start()
    try:
        begun.wait()
        holder = f"process {os.getpid()} on {socket.gethostname()} has been copying mnist there since "
        with pytest.raises(InputError, match=f"to {to}: {holder}20.*: end it, or give another folder$"):
            stage("mnist", shared, to)
    finally:
        go_on.set()
        first.join()
    assert pixel(stage("mnist", shared, to)) == 7


def test_without_file_locks_the_copy_is_made_all_the_same(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_locks(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert pixel(stage("mnist", shared, tmp_path / "disk")) == 7


def test_what_has_not_been_fetched_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"mnist: is not in .*on a machine with a network, run"):
        stage("mnist", tmp_path / "empty", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_fetch_data_copies_what_is_there(shared: Path, tmp_path: Path, script):
    to = tmp_path / "to"
    done = script("fetch_data.py", "--data_dir", shared, "--to", to)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{to / 'mnist'}\n", "")
    assert pixel(to / "mnist") == 7
    assert script("fetch_data.py", "mnist", "digits", "--data_dir", shared, "--to", to).stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--data_dir", "d", "--to", "t"],
            "--data_dir d: holds none of mnist, fmnist, cifar10, cifar100, mnli: fetch",
        ),
        (
            ["mnist", "--data_dir", "d", "--to", "t"],
            "--dataset mnist: is not in d; on a machine with a network",
        ),
        (["mnist", "--source", "s", "--to", "t"], "--source s: excludes --to; give one"),
        (["mnist", "--to", "/dev/null/x"], "--to /dev/null/x: /dev/null is a device; give a folder"),
    ],
)
def test_a_wrong_copy_is_refused(script, tmp_path: Path, words: list[str], message: str):
    done = script("fetch_data.py", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []
