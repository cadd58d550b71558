"""Stochastic gradient push (Assran et al., ICML 2019, arXiv 1811.10792): push-sum with real weights.

Node i holds a sum x_i and a weight w_i, with w_i(0) = 1, and its model is z_i = x_i / w_i:

    x_i <- x_i + h_i - z_i                              the local steps start from z_i and end at h_i
    (x_i, w_i) / (1 + d_i)                              to itself and to each of the d_i neighbours
    (x_i, w_i) <- the sum of what has come              z_i = x_i / w_i

The matrix of the shares is column-stochastic: sum_i x_i moves by the local steps alone and sum_i w_i = n, so
all z tend to the mean although no node knows another one's degree. What becomes of lost messages is described
in :mod:`dml.exchange.push`; with ``lost``, z stays a weighted mean.

Plain form: :class:`dml.algorithms.reference.PushSum`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.rule import RoundStart, Rule
from dml.algorithms.weights import last_messages

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.push import Push


class PushSum(Rule):
    """Equal shares to itself and to all neighbours.

    Args:
        exchange: over which shares go.
        push: the shares.
        X: x(0), [n, P].
    """

    def __init__(self, exchange: "Exchange", push: "Push", X: "Tensor") -> None:
        super().__init__(exchange)
        self._push, self._start, self._w = push, RoundStart(X), X.new_ones(len(X), 1)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps z(t)."""
        self._start.take(X)

    def models_changed(self) -> None:
        """z(t) is not what the last round left."""
        self._start.current = False

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- z(t + 1)."""
        import torch

        push, moved = self._push, self._w - 1
        for part in push.chunks(t, self._w):
            h, z = X[:, part], self._start.x[:, part]
            # w z + (h - z), split into shares.
            torch.addcmul(h, z, moved, out=push.space(part)).mul_(push.share)
            torch.div(push.summed(part), self._w, out=z)
            h.copy_(z)
        self._start.current = True

    def memory(self) -> dict[str, "Tensor"]:
        """The weights, [n, 1], and what waits on each link for a message that arrives."""
        return {"weight": self._w, **self._push.memory()}


def make(setup: Setup) -> Rule:
    """Push-sum over the links of the graph."""
    return PushSum(setup.exchange, setup.exchange.push(setup.loss_rule), setup.X)


ALGORITHM = Algorithm(
    about="shares of sums and weights, which no node needs to know degrees for",
    make=make,
    loss_rules=("hold_last", "self_weight", "lost"),
    # w z + h - z has a negative weight on z where w is below 1.
    convex=False,
    memory=lambda n, m, lossy: n + last_messages(n, m, lossy),
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
)
