"""RelaySGD/Grad (Vogels et al., NeurIPS 2021, arXiv 2110.04175, appendix): RelaySum of updates.

    u_i(t) = h_i(t) - x_i(t)            x_i(t+1) = x_i(t) + total_i(t) / n

where total is the RelaySum of u; what has not come yet counts as 0. Every update reaches every node once in
full, so there is no factor on the learning rate. But nothing draws the models together, and different delays
leave them apart if the data are heterogeneous.

Plain form: :class:`dml.algorithms.reference.RelaySGDGrad`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import TreeOptions
from dml.algorithms.relay_rule import RelayRule, admits, relays_of
from dml.algorithms.rule import RoundStart, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.relays import Relays

UPDATE_RULES = ("hold_last", "lost")
"""What RelaySum of updates makes of a lost message. hold_last: messages carry the running sum of their edge,
so the next one brings what was lost. lost: it is gone."""


class RelaySGDGrad(RelayRule):
    """Sums of updates over one or more trees.

    Args:
        exchange: over which messages go.
        relays: the trees; their backlog is what a receiver of running sums finds after a loss.
        X: x(0), [n, P].
    """

    def __init__(self, exchange: "Exchange", relays: "Relays", X: "Tensor") -> None:
        super().__init__(exchange, relays)
        self._start = RoundStart(X)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps x(t)."""
        self._start.take(X)

    def models_changed(self) -> None:
        """x(t) is not what the last round left."""
        self._start.current = False

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- x + RelaySum(h - x) / n."""
        import torch

        for piece in self._relays.round(t):
            h, x = X[:, piece.columns], self._start.x[:, piece.columns]
            torch.sub(h, x, out=piece.space)
            h.copy_(x.add_(piece.total()))
        self._start.current = True

    def memory(self) -> dict[str, "Tensor"]:
        """The messages."""
        return self._relays.memory()


def make(setup: Setup) -> Rule:
    """RelaySGD/Grad over the trees of the options."""
    remember = "backlog" if setup.loss_rule == "hold_last" else "nothing"
    relays, _ = relays_of(setup, remember, counters=0)
    return RelaySGDGrad(setup.exchange, relays, setup.X)


ALGORITHM = Algorithm(
    about="the sum of all nodes' updates, relayed over a tree",
    make=make,
    options=TreeOptions,
    loss_rules=UPDATE_RULES,
    convex=False,
    memory=lambda n, m, lossy: 5 * n if lossy else 3 * n,
    admits=admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
    shards=False,
)
