"""Random numbers that events draw one after another, each for a key of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.clock.draws import Draws


class Counter:
    """Draws for some keys, and how often each has drawn.

    Args:
        seed: the experiment's seed.
        purpose: the purpose of the numbers.
        keys: how many keys there are, which are numbered from 0.
    """

    def __init__(self, seed: int, purpose: str, keys: int) -> None:
        self._draw, self.counts = Draws(seed, purpose), [0] * keys

    def __call__(self, key: int) -> float:
        """The next number of a key, in [0, 1)."""
        count = self.counts[key]
        self.counts[key] = count + 1
        return self._draw(key, count)


class Counters:
    """All counters of a simulation, by purpose.

    Args:
        seed: the experiment's seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counters: dict[str, Counter] = {}

    def make(self, purpose: str, keys: int) -> Counter:
        """A counter for some keys, which a checkpoint holds from now on."""
        assert purpose not in self._counters, f"there is a counter of {purpose} already"
        self._counters[purpose] = Counter(self._seed, purpose, keys)
        return self._counters[purpose]

    def state(self) -> dict[str, NDArray[Any]]:
        """How often each key has drawn, by purpose."""
        return {
            f"count_{purpose.replace(' ', '_')}": np.array(counter.counts, np.int64)
            for purpose, counter in self._counters.items()
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        for purpose, counter in self._counters.items():
            counts = state[f"count_{purpose.replace(' ', '_')}"]
            if counts.shape != (len(counter.counts),):
                raise ValueError(f"the counts of {purpose} have the shape {counts.shape}")
            counter.counts[:] = counts.tolist()
