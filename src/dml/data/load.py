"""Data sets as arrays: inputs, labels, and the cut into training and test data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data import tiny_mem
from dml.data.config import CLASSIFICATION, NEXT_TOKEN

TEST_SHARE_OF_DIGITS = 360
"""Test images of digits: 360 of 1,797, a fifth."""


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Args:
        train_x, test_x: images float32, [N, channels, height, width]; tokens uint8, [N, T].
        train_y, test_y: int64 labels, [N].
        labels: number of classes L; labels are 0 .. L - 1.
        task: what a model is asked about a sample.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    labels: int
    task: str = CLASSIFICATION


def load(name: str, data_dir: Path, seed: int, settings: Mapping[str, Any] | None = None) -> Dataset:
    """A data set of ``DATASETS``, cut into training and test data by the seed.

    Args:
        name: of the data set.
        data_dir: folder of the data sets; ``~`` stands for the home folder.
        seed: the experiment's seed.
        settings: the fields that this data set alone reads (``DataConfig.settings``).
    """
    return _LOADERS[name](data_dir.expanduser(), seed, settings or {})


def _tiny_mem(data_dir: Path, seed: int, settings: Mapping[str, Any]) -> Dataset:
    parts = tiny_mem.load(data_dir, seed, settings)
    return Dataset(*parts, labels=settings["tiny_mem_num_labels"], task=NEXT_TOKEN)


def _digits(data_dir: Path, seed: int, settings: Mapping[str, Any]) -> Dataset:
    x, y = _all_digits(data_dir)
    order = randomness.generator(seed, "train/test cut").permutation(len(y))
    test, train = order[:TEST_SHARE_OF_DIGITS], order[TEST_SHARE_OF_DIGITS:]
    return Dataset(x[train], y[train], x[test], y[test], labels=10)


@lru_cache(maxsize=1)
def _all_digits(data_dir: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's digits, pixels in [0, 1]; kept as a file, as importing scikit-learn takes a second."""
    path = data_dir / "digits.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
        if images.shape != (1797, 8, 8) or labels.shape != (1797,):
            raise ValueError(path)
    except (OSError, ValueError, KeyError, EOFError, _bad_zip()):
        images, labels = _make_digits(path)
    x = (images.astype(np.float32) / 16)[:, None]
    return x, labels.astype(np.int64)


def _bad_zip() -> type[Exception]:
    from zipfile import BadZipFile

    return BadZipFile


def _make_digits(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
        np.savez(beside, images=images, labels=labels)
        beside.replace(path)
    except OSError:
        # A cache only: where it cannot be written, the next run takes a second longer.
        pass
    return images, labels


_LOADERS = {"digits": _digits, "tiny_mem": _tiny_mem}
