"""The learning rate as a function of the round and of the step within the round."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LearningRate = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]
"""(round, numbers of steps within it, counted from 0) -> the rate of each of these steps, of the same shape;
0 is allowed."""


def constant(lr: float) -> LearningRate:
    """The same learning rate in every step."""
    return lambda number, step: np.broadcast_to(np.float64(lr), step.shape)


def round_sum(rate: LearningRate, number: int, steps: NDArray[np.int64]) -> float:
    """The sum of the learning rates of a round's steps, on the mean over the nodes.

    Nodes with more data may take more steps, but a rule has one learning rate for all of them.

    Args:
        rate: the learning rate.
        number: of the round.
        steps: of each node in this round, [n].
    """
    rates = rate(number, np.arange(int(steps.max())))
    if (rates == rates[0]).all():
        return float(rates[0] * np.mean(steps))
    return float(np.mean(np.cumsum(rates)[steps - 1]))
