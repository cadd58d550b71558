"""Kept image data sets: what is written is what is read, all at once, and damage is named."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import pictures

from dml.data import images
from dml.data.images import Images, KeptImages, write_images
from dml.data.kept import is_kept
from dml.errors import InputError


def some(train=60, test=20, side=28, seed=0):
    x, y = pictures(train + test, side, seed=seed), np.arange(train + test) % 10
    return Images(x[:train], y[:train], x[train:], y[train:], tuple("abcdefghij"))


def kept(path):
    return KeptImages(path, "mine", "call again")


def test_what_is_written_is_read_and_its_images_are_mapped(tmp_path):
    assert not is_kept(tmp_path / "data" / "set")
    write_images(tmp_path / "data" / "set", some(), "a test")
    assert is_kept(tmp_path / "data" / "set")
    data, meta = kept(tmp_path / "data" / "set").load(), kept(tmp_path / "data" / "set").meta()
    for part in images.PARTS:
        assert np.array_equal(getattr(data, part), getattr(some(), part))
    assert isinstance(data.train_x, np.memmap)
    assert data.labels == 10
    assert (meta.shape, meta.sizes, meta.classes) == ((1, 28, 28), (60, 20), tuple("abcdefghij"))
    assert meta.fingerprint == some().fingerprint() != some(seed=1).fingerprint()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["set"]


def test_others_may_read_the_folder(tmp_path):
    before = os.umask(0o022)
    try:
        write_images(tmp_path / "set", some(), "a test")
    finally:
        os.umask(before)
    assert (tmp_path / "set").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "set" / "train_x.npy").stat().st_mode & 0o444 == 0o444


def test_other_data_replace_what_was_there(tmp_path):
    write_images(tmp_path / "set", some(), "a test")
    before = kept(tmp_path / "set").load()
    write_images(tmp_path / "set", some(30, 10, seed=1), "another")
    assert np.array_equal(kept(tmp_path / "set").load().train_x, some(30, 10, seed=1).train_x)
    # Whoever has mapped the old ones still reads them.
    assert np.array_equal(before.train_x, some().train_x)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_many_may_write_the_same_at_once(tmp_path):
    found = some()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: write_images(tmp_path / "set", found, "x"), range(8)))
    assert np.array_equal(kept(tmp_path / "set").load().train_x, found.train_x)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_writing_that_fails_leaves_nothing_and_changes_nothing(tmp_path, monkeypatch):
    write_images(tmp_path / "set", some(), "a test")

    def full(path, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_images(tmp_path / "set", some(seed=1), "another")
    assert np.array_equal(kept(tmp_path / "set").load().train_x, some().train_x)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_full_size_set_loads_in_under_a_second(tmp_path):
    """Of a core's own time, whatever else the machine does."""
    x = np.zeros((60_000, 1, 28, 28), np.uint8)
    y = np.arange(60_000) % 10
    write_images(tmp_path / "set", Images(x, y, x[:10_000], y[:10_000], tuple("0123456789")), "zeros")
    started = time.process_time()
    data = kept(tmp_path / "set").load()
    assert data.train(np.arange(60_000)).shape == (60_000, 1, 28, 28)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("damage", ["truncate", "meta", "half meta", "format", "label", "missing"])
def test_damaged_files_are_named_with_what_to_do(tmp_path, damage):
    path = tmp_path / "set"
    write_images(path, some(), "a test")
    if damage == "truncate":
        (path / "train_x.npy").write_bytes((path / "train_x.npy").read_bytes()[:-50])
    elif damage == "meta":
        (path / "meta.json").write_text("{")
    elif damage == "half meta":
        (path / "meta.json").write_text(json.dumps({"format": 1}))
    elif damage == "format":
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps({**meta, "format": 2}))
    elif damage == "label":
        np.save(path / "test_y.npy", np.full(20, 10))
    else:
        (path / "test_x.npy").unlink()
    expected = rf"^dataset mine: its files in {path} are damaged \(.+\); remove them and call again$"
    with pytest.raises(InputError, match=expected):
        kept(path).load()
    # Writing them again mends them.
    write_images(path, some(), "a test")
    assert len(kept(path).load().train_y) == 60
