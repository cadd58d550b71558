"""Gradient tracking (Lorenzo, Scutari 2016; Nedic et al. 2017, arXiv 1607.03218), adapt then combine.

With the direction d_i(t) = (h_i(t) - x_i(t)) / lr of the local steps, and a correction c,

    y(t)   = d(t) + c(t)                 the tracker; sum_i y_i = sum_i d_i, as sum_i c_i = 0
    x(t+1) = W ( x(t) + lr y(t) )
    c(t+1) = W y(t) - d(t),   c(0) = 0

y tends to the mean direction over all nodes, on every node. Divided by lr, c stays right when the learning
rate changes. Each neighbour gets two vectors.

Plain form: :class:`dml.algorithms.reference.GradientTracking`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import RoundStart, Rule, prefixed

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Averages, Exchange


class GradientTracking(Rule):
    """Models and trackers, both averaged.

    Args:
        exchange: over which both go.
        models: the average by W.
        trackers: another one by the same W; a lost message loses both its vectors.
        X: x(0), [n, P].
    """

    def __init__(self, exchange: "Exchange", models: "Averages", trackers: "Averages", X: "Tensor") -> None:
        super().__init__(exchange)
        self._models, self._trackers = models, trackers
        self._start, self._correction = RoundStart(X), X.new_zeros(X.shape)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps x(t)."""
        self._start.take(X)

    def models_changed(self) -> None:
        """x(t) is not what the last round left."""
        self._start.current = False

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- W (H + lr c), then c."""
        import torch

        # One message holds both vectors.
        with self.exchange.at_once():
            parts = list(zip(self._models.chunks(t), self._trackers.chunks(t), strict=True))
        for part, _ in parts:
            h, x, c = X[:, part], self._start.x[:, part], self._correction[:, part]
            # Without a learning rate nothing has moved, and there is nothing to track.
            d = (h - x).div_(lr) if lr else torch.zeros_like(h)
            torch.add(h, c, alpha=lr, out=self._models.space(part))
            torch.add(c, d, out=self._trackers.space(part))
            x.copy_(self._models.mixed(part))
            h.copy_(x)
            torch.sub(self._trackers.mixed(part), d, out=c)
        self._start.current = True

    def memory(self) -> dict[str, "Tensor"]:
        """c [n, P], and the last messages that arrived."""
        return {
            "correction": self._correction,
            **prefixed("models_", self._models.memory()),
            **prefixed("trackers_", self._trackers.memory()),
        }


def make(setup: Setup) -> Rule:
    """Gradient tracking with W of the graph."""
    W, exchange = weights.matrix(setup), setup.exchange
    models, trackers = (exchange.average(W, setup.loss_rule) for _ in range(2))
    return GradientTracking(exchange, models, trackers, setup.X)


def memory(n: int, m: int, lossy: bool) -> int:
    """Models' worth of memory: x(t), the corrections, and the last messages, which hold two vectors."""
    return 2 * n + 2 * weights.last_messages(n, m, lossy)


ALGORITHM = Algorithm(
    about="averages models and trackers of the mean gradient",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    convex=False,
    vectors=2,
    memory=memory,
    admits=weights.admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
)
