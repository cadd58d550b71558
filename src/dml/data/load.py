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
from dml.data import images, tiny_mem
from dml.data.config import CLASSIFICATION, FOLDER, NEXT_TOKEN, Scale, known

TEST_SHARE_OF_DIGITS = 360
"""Test images of digits: 360 of 1,797, a fifth."""


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Args:
        train_x, test_x: images float32, or uint8 pixels that may lie on disk, [N, channels, height, width];
            tokens uint8, [N, T].
        train_y, test_y: int64 labels, [N].
        labels: number of classes L; labels are 0 .. L - 1.
        scale: what turns pixels into inputs; None where they are inputs already.
        task: what a model is asked about a sample.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    labels: int
    scale: Scale | None = None
    task: str = CLASSIFICATION

    def train(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the training inputs, [k, channels, height, width] float32, or [k, T] tokens."""
        return self._inputs(self.train_x[samples])

    def test(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the test inputs, [k, channels, height, width] float32, or [k, T] tokens."""
        return self._inputs(self.test_x[samples])

    @property
    def black(self) -> NDArray[np.float32]:
        """A pixel of value 0 as an input, [channels]."""
        pixel = np.zeros((1, self.train_x.shape[1], 1, 1), self.train_x.dtype)
        result: NDArray[np.float32] = self._inputs(pixel)[0, :, 0, 0]
        return result

    def _inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """(x / 255 - mean) / std by channel."""
        if self.scale is None:
            return x
        mean, std = (np.array(values, np.float32)[:, None, None] for values in self.scale)
        result = x.astype(np.float32)
        result /= 255
        if mean.any() or (std != 1).any():
            result -= mean
            result /= std
        return result


def load(
    name: str,
    data_dir: Path,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    *,
    augmented: bool = False,
) -> Dataset:
    """A data set by its name, or a folder, cut into training and test data by the seed.

    Args:
        name: of the data set.
        data_dir: folder of the data sets; ``~`` stands for the home folder.
        seed: the experiment's seed.
        settings: the fields that this data set alone reads (``DataConfig.settings``).
        augmented: with augmentation, which has input scales of its own.

    Raises:
        InputError: it is not there, or damaged.
    """
    if name in _LOADERS:
        return _LOADERS[name](Path(os.path.expanduser(data_dir)), seed, settings or {})
    kept = images.load(name, data_dir)
    spec = known(name) or FOLDER
    return Dataset(
        kept.train_x,
        kept.train_y,
        kept.test_x,
        kept.test_y,
        len(kept.classes),
        spec.augmented_scale if augmented else spec.scale,
    )


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
            pixels, labels = file["images"], file["labels"]
        if pixels.shape != (1797, 8, 8) or labels.shape != (1797,):
            raise ValueError(path)
    except (OSError, ValueError, KeyError, EOFError, _bad_zip()):
        pixels, labels = _make_digits(path)
    x = (pixels.astype(np.float32) / 16)[:, None]
    return x, labels.astype(np.int64)


def _bad_zip() -> type[Exception]:
    from zipfile import BadZipFile

    return BadZipFile


def _make_digits(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
        np.savez(beside, images=pixels, labels=labels)
        beside.replace(path)
    except OSError:
        # A cache only: where it cannot be written, the next run takes a second longer.
        pass
    return pixels, labels


_LOADERS = {"digits": _digits, "tiny_mem": _tiny_mem}
