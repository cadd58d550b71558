"""Uniform numbers that are keyed by a counter, and hashed in blocks.

A simulation with events draws one number at a time, such as the time of a node's k-th update. One generator
per number would take most of the time of an event. Here the next numbers of a key are hashed at once, and
kept until they are asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dml import randomness

LEAST_BLOCK, MOST_BLOCK = 8, 512
"""The lengths of blocks. A block is about as long as the count at which it begins: a key that is used a few
times takes little memory, and one that is used often takes few calls."""


def uniforms(
    seed: int, purpose: str, keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The numbers in [0, 1) that :class:`Draws` gives for keys and counts, [k].

    Args:
        seed: the experiment's seed.
        purpose: the purpose of the numbers.
        keys: what each number belongs to, such as a node, [k].
        counts: the number of times that it has drawn before, [k].
    """
    return randomness.uniforms(seed, purpose, 0, keys, counts)


class Draws:
    """Numbers in [0, 1), keyed by (seed, purpose, key, count).

    The order in which they are asked for does not change them. It is fast if the counts of each key rise one
    by one.

    Args:
        seed: the experiment's seed.
        purpose: the purpose of the numbers, such as ``"compute time"``.
        transform: applied to each block of numbers, such as the quantile function of a law.
    """

    def __init__(
        self,
        seed: int,
        purpose: str,
        transform: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    ) -> None:
        self._seed, self._purpose, self._transform = seed, purpose, transform
        self._blocks: dict[int, tuple[int, Sequence[float]]] = {}

    def __call__(self, key: int, count: int) -> float:
        """One number.

        Args:
            key: at least 0.
            count: at least 0.
        """
        block = self._blocks.get(key)
        if block is not None:
            place = count - block[0]
            if 0 <= place < len(block[1]):
                return block[1][place]
        length = min(max(count, LEAST_BLOCK), MOST_BLOCK)
        values = uniforms(self._seed, self._purpose, np.array([key]), np.arange(count, count + length))
        numbers = (values if self._transform is None else self._transform(values)).tolist()
        self._blocks[key] = (count, numbers)
        first: float = numbers[0]
        return first
