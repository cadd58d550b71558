"""The digits are scikit-learn's, cut by the seed, and kept in a file that may be lost or damaged."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dml.data.config import DataConfig
from dml.data.load import describe_dataset, load_dataset


def load(data_dir, seed):
    return load_dataset(DataConfig(data_dir=data_dir), seed)


def rows(x):
    return sorted(map(bytes, (x.reshape(len(x), -1) * 16).round().astype(np.uint8)))


def test_digits_are_scikit_learns_cut_in_two(tmp_path):
    data = load(tmp_path, 0)
    bunch, spec = load_digits(), describe_dataset(DataConfig(data_dir=tmp_path))
    assert (len(data.train_y), len(data.test_y)) == spec.sizes
    assert (data.train_x.shape[1:], data.labels) == (spec.shape, spec.labels)
    assert data.train_x.shape == (1437, 1, 8, 8)
    assert data.test_x.shape == (360, 1, 8, 8)
    assert data.train_x.dtype == data.test_x.dtype == np.float32
    assert data.train_y.dtype == data.test_y.dtype == np.int64
    whole = np.concatenate([data.train_x, data.test_x])
    assert whole.min() == 0
    assert whole.max() == 1
    assert rows(whole) == rows(bunch.images / 16)
    # Each image kept its label: both orders sorted by the same images.
    image_and_label = {
        (bytes((x * 16).astype(np.uint8)), int(y))
        for x, y in zip(whole, np.concatenate([data.train_y, data.test_y]), strict=True)
    }
    assert image_and_label == {
        (bytes(x.astype(np.uint8)), int(y)) for x, y in zip(bunch.images, bunch.target, strict=True)
    }


def test_the_cut_is_keyed_by_the_seed(tmp_path):
    first, again, other = (load(tmp_path, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test_x, again.test_x)
    assert not np.array_equal(first.test_x, other.test_x)
    assert rows(np.concatenate([first.train_x, first.test_x])) == rows(
        np.concatenate([other.train_x, other.test_x])
    )


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04 not a zip", b"half"])
def test_a_damaged_cache_file_is_made_again(tmp_path, left):
    good = load(tmp_path / "good", 0)
    path = tmp_path / "bad" / "digits.npz"
    path.parent.mkdir()
    path.write_bytes((tmp_path / "good" / "digits.npz").read_bytes()[:5000] if left == b"half" else left)
    assert np.array_equal(load(path.parent, 0).train_x, good.train_x)
    with np.load(path) as file:
        assert file["images"].shape == (1797, 8, 8)
    assert [p.name for p in path.parent.iterdir()] == ["digits.npz"]


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    # A file where the folder should be: it cannot be made, whoever runs the test.
    (tmp_path / "file").write_text("")
    data = load(tmp_path / "file" / "data", 0)
    assert len(data.train_y) == 1437
