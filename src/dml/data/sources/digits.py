"""scikit-learn's 1,797 images of handwritten digits, 8 x 8, cut into training and test images by the seed."""

from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.dataset import Dataset, DatasetSpec
from dml.data.source import DataSource
from dml.files import beside, check_regular
from dml.section import Section

TOTAL, TEST = 1797, 360
"""The number of all images, and of test images (a fifth)."""


def _describe(options: Section, data_dir: Path) -> DatasetSpec:
    return DatasetSpec(shape=(1, 8, 8), labels=10, sizes=(TOTAL - TEST, TEST))


def _load(options: Section, data_dir: Path, seed: int) -> Dataset:
    x, y = _all_digits(data_dir)
    order = randomness.generator(seed, "train/test cut").permutation(len(y))
    test, train = order[:TEST], order[TEST:]
    return Dataset(x[train], y[train], x[test], y[test], labels=10)


@lru_cache(maxsize=1)
def _all_digits(data_dir: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images with pixels in [0, 1], [1797, 1, 8, 8], and labels, from their file or from scikit-learn."""
    path = data_dir / "digits.npz"
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            pixels, labels = file["images"], file["labels"]
        if pixels.shape != (TOTAL, 8, 8) or labels.shape != (TOTAL,):
            raise ValueError(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pixels, labels = _from_scikit_learn(path)
    x = (pixels.astype(np.float32) / 16)[:, None]
    return x, labels.astype(np.int64)


def _from_scikit_learn(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels 0 to 16, and labels. They are kept in a file, as importing scikit-learn takes a second."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            np.savez(temporary, images=pixels, labels=labels)
    except OSError:
        # The file is only a cache: without it, the next run takes a second longer.
        pass
    return pixels, labels


DIGITS = DataSource(
    describe=_describe,
    load=_load,
    options=Section,
    defaults={
        "model": "mlp",
        "optimizer": "sgd",
        "lr": 0.05,
        "batch_size": 16,
        "epochs": 5,
        "label_alpha": 1000.0,
        "sample_alpha": 1000.0,
        # A tenth of 360 images, as for the larger data sets, would be too few to measure with.
        "ood_test_proportion": 0.5,
    },
)
