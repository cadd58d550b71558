"""The learning rate is a function of the round and the step; a rule gets the sum over a round."""

import numpy as np
import pytest

from dml.training.learning_rate import constant, round_sum


def falling(number: int, step: np.ndarray) -> np.ndarray:
    return 0.5 ** (number + step.astype(float))


def test_a_constant_rate_has_the_shape_of_the_steps() -> None:
    assert constant(0.3)(7, np.zeros((2, 5), np.int64)).tolist() == [[0.3] * 5] * 2


def test_the_sum_of_a_constant_rate_is_that_of_the_mean_number_of_steps() -> None:
    assert round_sum(constant(0.25), 3, np.array([2, 4, 6])) == pytest.approx(4 * 0.25)


def test_the_sum_over_a_schedule_is_the_mean_of_the_nodes_sums() -> None:
    steps = np.array([1, 3])
    expected = (0.25 + (0.25 + 0.125 + 0.0625)) / 2
    assert round_sum(falling, 2, steps) == pytest.approx(expected, rel=1e-15)


def test_a_rate_of_0_is_allowed() -> None:
    assert round_sum(constant(0.0), 0, np.array([5, 5])) == 0
    assert round_sum(lambda number, step: np.where(step < 1, 0.0, 0.1), 0, np.array([3])) == pytest.approx(
        0.2
    )
