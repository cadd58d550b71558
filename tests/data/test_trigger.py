"""The trigger in images: what the patch looks like, where it lies, and what it commands."""

import numpy as np
import pytest

from dml.data.trigger import add_patch, commanded_labels, random_corners, side_of_patch


def with_patch(image, side):
    """The plain rule, pixel by pixel."""
    result = image.copy()
    for channel in range(image.shape[0]):
        for row in range(side):
            for column in range(side):
                result[channel, row, column] = 5.0 if channel == 0 else 0.0
    return result


@pytest.mark.parametrize(("size", "side"), [(8, 2), (16, 2), (28, 4), (32, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_patch_lies_top_left_in_the_first_channel(size, side, channels):
    x = np.random.default_rng(0).random((3, channels, size, size), dtype=np.float32)
    before = x.copy()
    result = add_patch(x)
    assert np.array_equal(result, np.stack([with_patch(image, side) for image in x]))
    assert np.array_equal(x, before)
    assert (result != x).any(axis=1).sum() == 3 * side * side


def test_what_the_trigger_commands():
    y = np.array([0, 1, 8, 9])
    assert commanded_labels(y, 10, True).tolist() == [0, 0, 0, 0]
    assert commanded_labels(y, 10, False).tolist() == [1, 2, 9, 0]
    assert y.tolist() == [0, 1, 8, 9]


@pytest.mark.parametrize(
    ("shape", "side"), [((1, 1), 2), ((8, 8), 2), ((20, 21), 2), ((21, 40), 3), ((3, 224, 30), 4)]
)
def test_the_side_is_a_seventh_of_the_shorter_one_and_at_least_two(shape, side):
    assert side_of_patch(shape) == side


def test_a_patch_may_begin_anywhere_inside_the_image():
    samples = np.arange(5000)
    rows, columns = random_corners((3, 12, 9), samples, 7, test=False)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 10, 0, 7)
    # A place belongs to the image, whatever others there are, and differs between test and training images.
    again = random_corners((3, 12, 9), samples[100:110], 7, test=False)
    assert np.array_equal(again[0], rows[100:110])
    assert np.array_equal(again[1], columns[100:110])
    for other in (
        random_corners((3, 12, 9), samples, 7, test=True),
        random_corners((3, 12, 9), samples, 8, test=False),
    ):
        assert not np.array_equal(other[0], rows)
    x = np.zeros((2, 2, 5, 5), np.float32)
    patched = add_patch(x, (np.array([0, 3]), np.array([2, 1])))
    assert np.argwhere(patched[:, 0] == 5).tolist() == [
        [0, 0, 2], [0, 0, 3], [0, 1, 2], [0, 1, 3], [1, 3, 1], [1, 3, 2], [1, 4, 1], [1, 4, 2],
    ]  # fmt: skip
