"""The trigger in images: a bright patch, and the label that it commands (arXiv 2505.11760, section 4)."""

import numpy as np
from numpy.typing import NDArray

from dml import randomness

VALUE = 5.0
"""The value of the patch in channel 0, in the units of the inputs; the other channels are 0."""

Corners = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The first row and the first column of each image's patch, both [k]."""


def side_of_patch(shape: tuple[int, ...]) -> int:
    """The side of the patch on images [..., height, width]: a seventh of their shorter side, at least 2."""
    return max(2, min(shape[-2:]) // 7)


def add_patch(x: NDArray[np.float32], corners: Corners | None = None) -> NDArray[np.float32]:
    """Copies of images, with the patch.

    Args:
        x: the images as inputs, [k, channels, height, width].
        corners: where each patch begins; None for the top left of the image.
    """
    side = side_of_patch(x.shape)
    top, left = corners or (np.zeros(len(x), np.int64),) * 2
    rows = (top[:, None] + np.arange(side))[:, None, :, None]
    columns = (left[:, None] + np.arange(side))[:, None, None, :]
    image, channel = np.arange(len(x))[:, None, None, None], np.arange(x.shape[1])[None, :, None, None]
    result = x.copy()
    result[image, channel, rows, columns] = np.where(channel == 0, np.float32(VALUE), np.float32(0))
    return result


def random_corners(shape: tuple[int, ...], samples: NDArray[np.int64], seed: int, *, test: bool) -> Corners:
    """Random corners of the patches, keyed by (seed, train or test, sample).

    Args:
        shape: the shape of the images, [..., height, width].
        samples: the images' numbers in the data set, [k].
        seed: the experiment's seed.
        test: whether they are test images.
    """
    side = side_of_patch(shape)
    rows, columns = (
        np.floor(randomness.uniforms(seed, "trigger place", int(test), samples, axis) * (length - side + 1))
        for axis, length in enumerate(shape[-2:])
    )
    return rows.astype(np.int64), columns.astype(np.int64)


def commanded_labels(y: NDArray[np.int64], labels: int, many_to_one: bool) -> NDArray[np.int64]:
    """The labels that the trigger commands: 0, or (label + 1) mod L."""
    return np.zeros_like(y) if many_to_one else (y + 1) % labels
