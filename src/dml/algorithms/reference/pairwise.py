"""Plain forms of pairwise averaging, which are told what happens: updates, choices of peers, and messages."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.reference.plain import Models

Share = Callable[[float, float, float, float], float]
"""(clock and loss of the node, clock and loss that came with the model) -> f."""


class PairwisePull:
    """x_i <- f x_j + (1 - f) x_i, with the model and header of j when the request reached it.

    Args:
        x: the models at the start, [n, P].
        share: f.
    """

    def __init__(self, x: Models, share: Share) -> None:
        self.x, self._share = x.copy(), share
        self.clock, self._loss = np.zeros(len(x)), np.zeros(len(x))
        self._answers: dict[int, tuple[Models, float, float]] = {}

    def update(self, i: int, change: Models, loss: float) -> None:
        """x_i changes by local steps, whose loss was this."""
        self.x[i] = self.x[i] + change
        self.clock[i] += 1
        self._loss[i] = loss

    def turn(self, i: int, j: int) -> None:
        """Node i asks j, which changes nothing."""

    def event(self, kind: str, i: int, j: int) -> None:
        """The request of i is ``asked`` of j, the answer ``answered``; anything else changes nothing."""
        if kind == "asked":
            self._answers[i] = self.x[j].copy(), self.clock[j], self._loss[j]
        elif kind == "answered":
            y, clock, loss = self._answers[i]
            f = self._share(self.clock[i], self._loss[i], clock, loss)
            self.x[i] = f * y + (1 - f) * self.x[i]
            self.clock[i] = f * clock + (1 - f) * self.clock[i]


class PairwiseSwap:
    """x_i and x_j become their mean.

    Args:
        x: the models at the start, [n, P].
    """

    def __init__(self, x: Models) -> None:
        self.x = x.copy()

    def update(self, i: int, change: Models, loss: float) -> None:
        """x_i changes by local steps."""
        self.x[i] = self.x[i] + change

    def turn(self, i: int, j: int) -> None:
        """Both models set out, which changes nothing."""

    def event(self, kind: str, i: int, j: int) -> None:
        """The nodes have ``met``; anything else changes nothing."""
        if kind == "met":
            self.x[i] = self.x[j] = (self.x[i] + self.x[j]) / 2


class PairwisePush:
    """Sums s_i = w_i x_i and weights w_i, half of which is sent; a lost half goes back to its sender.

    Args:
        x: the models at the start, [n, P].
        acknowledged: without acknowledgements, a lost half is gone.
    """

    def __init__(self, x: Models, acknowledged: bool = True) -> None:
        self._s, self._w = x.copy(), np.ones(len(x))
        self._acknowledged = acknowledged
        self._sent: dict[int, tuple[Models, float]] = {}

    @property
    def x(self) -> Models:
        """The models, [n, P]."""
        models: NDArray[np.float64] = self._s / self._w[:, None]
        return models

    def update(self, i: int, change: Models, loss: float) -> None:
        """x_i changes by local steps."""
        self._s[i] += self._w[i] * change

    def turn(self, i: int, j: int) -> None:
        """Node i halves what it has, and sends the other half to j."""
        self._s[i] /= 2
        self._w[i] /= 2
        self._sent[i] = self._s[i].copy(), float(self._w[i])

    def event(self, kind: str, i: int, j: int) -> None:
        """What i sent to j has ``arrived`` or was ``lost``; anything else changes nothing."""
        if kind == "arrived" or (kind == "lost" and self._acknowledged):
            share, weight = self._sent.pop(i)
            self._s[j if kind == "arrived" else i] += share
            self._w[j if kind == "arrived" else i] += weight


class PairwiseRunningSum(PairwisePush):
    """A message carries the sum of all halves sent over its link; its receiver takes up what is new to it.

    Args:
        x: the models at the start, [n, P].
    """

    def __init__(self, x: Models) -> None:
        super().__init__(x)
        nothing = np.zeros(x.shape[1])
        self._sums: dict[tuple[int, int], tuple[Models, float]] = {}
        self._taken = {(i, j): (nothing, 0.0) for i in range(len(x)) for j in range(len(x))}

    def turn(self, i: int, j: int) -> None:
        """Node i halves what it has, and sends the sum of all halves to j."""
        super().turn(i, j)
        (half, weight), (s, w) = self._sent[i], self._sums.get((i, j), self._taken[i, j])
        self._sums[i, j] = s + half, w + weight

    def event(self, kind: str, i: int, j: int) -> None:
        """What i sent to j has ``arrived``; anything else changes nothing."""
        if kind == "arrived":
            (s, w), (old_s, old_w) = self._sums[i, j], self._taken[i, j]
            self._s[j] += s - old_s
            self._w[j] += w - old_w
            self._taken[i, j] = s, w
