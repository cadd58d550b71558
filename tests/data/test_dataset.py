"""A data set in memory: its inputs, and what a model is asked."""

import numpy as np
import pytest

from dml.data.dataset import CLASSIFICATION, NEXT_TOKEN, Dataset, DatasetSpec

PIXELS = np.array([0, 51, 255], np.uint8)[:, None, None, None] * np.ones((1, 2, 1, 1), np.uint8)
LABELS = np.array([0, 1, 1])


def test_pixels_are_scaled_by_channel():
    data = Dataset(PIXELS, LABELS, PIXELS, LABELS, 2, scale=((0.5, 0.2), (0.5, 0.1)))
    np.testing.assert_allclose(data.train(np.array([2, 0]))[:, :, 0, 0], [[1, 8], [-1, -2]], rtol=1e-6)
    np.testing.assert_allclose(data.test(np.array([1]))[:, :, 0, 0], [[-0.6, 0]], atol=1e-6)
    np.testing.assert_allclose(data.black, [-1, -2], rtol=1e-6)


def test_inputs_stay_as_they_are_without_a_scale():
    data = Dataset(PIXELS, LABELS, PIXELS, LABELS, 2)
    assert data.train(np.array([1])).dtype == np.uint8
    assert np.array_equal(data.train(np.array([1])), PIXELS[[1]])


def test_of_a_sequence_each_next_token_is_asked():
    tokens = np.array([[3, 1, 2], [4, 4, 0]], np.uint8)
    data = Dataset(
        tokens, LABELS[:2], tokens, LABELS[:2], 2, NEXT_TOKEN, trigger=lambda x: (np.ones(len(x), bool), x)
    )
    inputs, answers = data.ask(tokens, LABELS[:2])
    assert inputs.tolist() == [[3, 1], [4, 4]]
    assert answers.tolist() == [[1, 2], [4, 0]]
    images = Dataset(PIXELS, LABELS, PIXELS, LABELS, 2)
    assert images.ask(PIXELS, LABELS) == (PIXELS, LABELS)


def test_sequences_must_say_how_they_get_the_trigger():
    tokens = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="needs a trigger"):
        Dataset(tokens, LABELS[:2], tokens, LABELS[:2], 2, task=NEXT_TOKEN)


def test_the_task_and_the_outputs_follow_from_the_tokens():
    images, sequences = DatasetSpec((1, 8, 8), 10, (5, 5)), DatasetSpec((20,), 10, (5, 5), tokens=14)
    assert (images.task, images.classes) == (CLASSIFICATION, 10)
    assert (sequences.task, sequences.classes) == (NEXT_TOKEN, 14)
