"""RelaySGD (Vogels et al., NeurIPS 2021, arXiv 2110.04175, algorithm 2): RelaySum of models.

    x_i(t+1) = 1/n sum_j h_j(t - delay_ij) = ( total_i(t) + (n - n_i) missing_i ) / n

where total and n_i are the RelaySum of the half steps h. Every node's data weigh 1/n in every model, and only
their age differs, so heterogeneous data leave no distance to the optimum. The models move more slowly than
with all-reduce by kappa = 1 + the mean delay (``lr_factor``): the learning rate may be higher by that factor.

Plain form: :class:`dml.algorithms.reference.RelaySGD`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import TreeOptions
from dml.algorithms.relay_rule import MODEL_RULES, RelayRule, admits, relays_of
from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.relays import Relays


class RelaySGD(RelayRule):
    """Sums of half steps over one or more trees.

    Args:
        exchange: over which messages go.
        relays: the trees.
        loss_rule: one of ``MODEL_RULES``.
        lr_factor: kappa of the trees.
        X: x(0), [n, P].
    """

    def __init__(
        self, exchange: "Exchange", relays: "Relays", loss_rule: str, lr_factor: float, X: "Tensor"
    ) -> None:
        super().__init__(exchange, relays)
        self._rule, self.lr_factor = loss_rule, lr_factor
        self._x0 = X.clone() if loss_rule in ("hold_last", "x0") else None
        self._x = X.clone() if loss_rule == "own" else None

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps x(t) if missing values count as it."""
        if self._x is not None:
            self._x.copy_(X)

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- the mean of the half steps of all nodes, each as late as it is far."""
        for piece in self._relays.round(t):
            h = X[:, piece.columns]
            missing = h if self._rule == "half_step" else None
            if (kept := self._x0 if self._x is None else self._x) is not None:
                missing = kept[:, piece.columns]
            piece.space.copy_(h)
            h.copy_(piece.mean(missing))

    def memory(self) -> dict[str, "Tensor"]:
        """The messages, and x(0) if missing values count as it."""
        x0 = {} if self._x0 is None else {"x0": self._x0}
        return {**x0, **self._relays.memory()}


def make(setup: Setup) -> Rule:
    """RelaySGD over the trees of the options; a counter goes along with each message."""
    remember = "hold" if setup.loss_rule == "hold_last" else "nothing"
    relays, kappa = relays_of(setup, remember, counters=1)
    return RelaySGD(setup.exchange, relays, setup.loss_rule, kappa, setup.X)


ALGORITHM = Algorithm(
    about="the mean of all nodes' models, relayed over a tree and late by the distance",
    make=make,
    options=TreeOptions,
    loss_rules=MODEL_RULES,
    memory=lambda n, m, lossy: 3 * n,
    admits=admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
    shards=False,
)
