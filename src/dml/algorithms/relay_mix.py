"""RelaySum between updates and models (Vogels et al., NeurIPS 2021, arXiv 2110.04175, appendix).

    s_i(t) = c x_i(t) + u_i(t),   u_i = h_i - x_i
    x_i(t+1) = (1 - c) x_i(t) + ( total_i(t) + (n - n_i) c missing_i ) / n

where total is the RelaySum of s. The consensus strength c is 1 for RelaySGD; the smaller it is, the less the
models are drawn together, and the less they are slowed down: ``lr_factor`` = 1 + c (kappa - 1). Missing
values count as c x, since that is what a node without an update sends: zero updates change nothing.

Plain form: :class:`dml.algorithms.reference.RelayMix`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import TreeOptions
from dml.algorithms.relay_rule import MODEL_RULES, RelayRule, admits, relays_of
from dml.algorithms.rule import RoundStart, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.relays import Relays


class RelayMixOptions(TreeOptions):
    """The tree, and how strongly models are drawn together."""

    consensus_strength: float = Field(
        0.5, gt=0, le=1, description="c of relay_mix: how much models are drawn together, 1 as in relaysgd"
    )


class RelayMix(RelayRule):
    """Sums of updates and a part of the models.

    Args:
        exchange: over which messages go.
        relays: the trees.
        strength: c, in (0, 1].
        loss_rule: one of ``MODEL_RULES``.
        kappa: of the trees.
        X: x(0), [n, P].
    """

    def __init__(
        self,
        exchange: "Exchange",
        relays: "Relays",
        strength: float,
        loss_rule: str,
        kappa: float,
        X: "Tensor",
    ) -> None:
        super().__init__(exchange, relays)
        self._c, self._rule = strength, loss_rule
        self.lr_factor = 1 + strength * (kappa - 1)
        self._start = RoundStart(X)
        self._x0 = X.clone() if loss_rule in ("hold_last", "x0") else None

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps x(t)."""
        self._start.take(X)

    def models_changed(self) -> None:
        """x(t) is not what the last round left."""
        self._start.current = False

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- (1 - c) x + the mean of c x + u."""
        import torch

        for piece in self._relays.round(t):
            h, x = X[:, piece.columns], self._start.x[:, piece.columns]
            s = torch.sub(h, x, alpha=1 - self._c, out=piece.space)
            missing, scale = None, self._c
            if self._rule == "half_step":
                missing, scale = s, 1.0
            elif self._rule != "counts":
                missing = x if self._x0 is None else self._x0[:, piece.columns]
            mean = piece.mean(missing, scale)
            h.copy_(torch.add(mean, x, alpha=1 - self._c, out=x))
        self._start.current = True

    def memory(self) -> dict[str, "Tensor"]:
        """The messages, and x(0) if missing values count as it."""
        x0 = {} if self._x0 is None else {"x0": self._x0}
        return {**x0, **self._relays.memory()}


def make(setup: Setup) -> Rule:
    """RelaySum of updates and parts of models; a counter goes along with each message."""
    assert isinstance(setup.options, RelayMixOptions)
    remember = "hold" if setup.loss_rule == "hold_last" else "nothing"
    relays, kappa = relays_of(setup, remember, counters=1)
    strength = setup.options.consensus_strength
    return RelayMix(setup.exchange, relays, strength, setup.loss_rule, kappa, setup.X)


ALGORITHM = Algorithm(
    about="relayed sums of updates and of parts of the models",
    make=make,
    options=RelayMixOptions,
    loss_rules=MODEL_RULES,
    convex=False,
    memory=lambda n, m, lossy: 4 * n,
    admits=admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
    shards=False,
)
