"""Keys: made once at first use, private, and refused by name when they are not as they must be."""

import os
import stat
import subprocess
import sys

import pytest

from dml.errors import DamagedFileError, InputError
from dml.network import keys


def test_the_pair_of_the_host_is_made_once_and_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("DML_KEYS", str(tmp_path / "a" / "keys"))
    pair = keys.own_keys()
    assert keys.own_keys() == pair
    folder = tmp_path / "a" / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "own.key_secret").stat().st_mode) == 0o600
    assert pair.secret not in repr(pair) + str(pair)


def test_processes_that_make_it_at_the_same_time_get_the_same(tmp_path):
    code = "from pathlib import Path; from dml.network import keys; import sys;"
    code += "print(keys.own_keys(Path(sys.argv[1])).public)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate()[0] for process in running}) == 1


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    keys.own_keys(tmp_path)
    path = tmp_path / "own.key_secret"
    path.chmod(0o640)
    with pytest.raises(InputError, match=r"own.key_secret: can be read by others; .* chmod 600"):
        keys.own_keys(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    pair, path = keys.new(), tmp_path / "own.key_secret"
    keys.write(path, pair)
    text = path.read_text()
    for damaged in ("", text[:-10], text.replace(pair.public, keys.new().public), "\0\xff"):
        path.write_text(damaged)
        with pytest.raises(DamagedFileError, match="is damaged"):
            keys.load(path)


def test_a_file_is_never_overwritten(tmp_path):
    pair, path = keys.new(), tmp_path / "n.key_secret"
    keys.write(path, pair)
    keys.write_public(tmp_path / "n.key", pair.public)
    with pytest.raises(FileExistsError):
        keys.write(path, keys.new())
    with pytest.raises(FileExistsError):
        keys.write_public(tmp_path / "n.key", pair.public)
    assert keys.load(path) == pair
    assert keys.load_public(tmp_path / "n.key") == pair.public


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        keys.own_keys(tmp_path / "keys")
