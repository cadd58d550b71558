"""Only regular files are opened, and impossible paths are refused."""

import os
import socket

import pytest

from dml import files
from dml.errors import InputError


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _device(path):
    path.symlink_to("/dev/zero")


SPECIAL = {"pipe": _pipe, "socket": _socket, "device": _device}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_not_a_regular_file_is_neither_read_nor_replaced(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
    path = tmp_path / "it"
    SPECIAL[kind](path.relative_to(tmp_path) if kind == "socket" else path)
    with pytest.raises(OSError, match=f"it is a {kind} and not a regular file"):
        files.read_bytes(path, 10)
    before = path.lstat()
    with pytest.raises(OSError, match=f"it is a {kind} and not a regular file"), files.beside(path) as new:
        new.touch()
    assert os.path.samestat(before, path.lstat())
    assert os.listdir(tmp_path) == ["it"]
    with pytest.raises(InputError, match=f"^out it: is a {kind}; give a file$"):
        files.check_writable_file(path.relative_to(tmp_path), "out")


def test_a_file_that_is_read_whole_has_a_largest_size(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"12345")
    assert files.read_bytes(path, 5) == b"12345"
    os.truncate(path, 10**12)  # It has a terabyte, and takes no room.
    with pytest.raises(OSError, match="it is larger than 5 MB"):
        files.read_bytes(path, 5_000_000)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "does not exist"),
        ("file/none", "does not exist"),
        ("file", "is a file"),
        (".", "is a folder"),
        ("dangling", "is a link to nothing"),
        ("loop", "cannot be reached (Too many levels of symbolic links)"),
        ("n" * 256, "cannot be reached (File name too long)"),
        ("pipe", "is a pipe"),
    ],
)
def test_what_is_at_a_path_has_words(name, words, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert files.what_is_at(tmp_path / name) == words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a" * 255, None),
        ("a" * 256, "holds a name of more than 255 bytes"),
        ("ä" * 128, "holds a name of more than 255 bytes"),
        ("/" + "/".join(["a" * 200] * 17), None),
        ("/" + "/".join(["a" * 200] * 18), "is longer than 3500 bytes"),
        ("a\0b", "holds a zero byte"),
    ],
)
def test_a_path_that_the_system_does_not_take_is_named(path, words):
    assert files.objection_to_path(path) == words


@pytest.mark.parametrize("name", ["dangling", "dangling/under", "loop", "loop/under"])
def test_a_folder_behind_a_link_to_nothing_cannot_be_written(name, tmp_path):
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"^out_dir .*(is a link to nothing|cannot be reached)"):
        files.check_writable(tmp_path / name)
