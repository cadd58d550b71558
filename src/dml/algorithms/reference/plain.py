"""What every plain form takes and returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Models = NDArray[np.float64]
"""A vector per node, [n, P]."""

Neighbours = Sequence[Collection[int]]
"""The neighbours of each node, by its number."""

Arrived = Callable[[int, int], bool]
"""(sender, receiver) -> whether the message of this round arrives."""


def all_arrive(sender: int, receiver: int) -> bool:
    """No message is lost."""
    return True


class Plain(ABC):
    """One algorithm."""

    @abstractmethod
    def round(self, x: Models, h: Models, lr: float, arrived: Arrived = all_arrive) -> Models:
        """x(t + 1), [n, P].

        Args:
            x: x(t), [n, P].
            h: the half steps, [n, P].
            lr: the sum of the learning rates of the round's local steps.
            arrived: which messages arrive.
        """
