"""RelaySum between updates and models (Vogels et al., NeurIPS 2021, arXiv 2110.04175, appendix).

    s_i(t) = c x_i(t) + u_i(t),   u_i = h_i - x_i
    x_i(t+1) = (1 - c) x_i(t) + ( total_i(t) + (n - n_i) c missing_i ) / n

total being the RelaySum of s. The consensus strength c is 1 for RelaySGD; the smaller it is, the less the
models are drawn together, and the less they are slowed down: ``lr_factor`` = 1 + c (kappa - 1). Missing
values count as c x, since that is what a node without an update sends: zero updates change nothing.
"""

import torch
from torch import Tensor

from dml.algorithms.relay import RelayRule, Relays
from dml.algorithms.rule import Kept
from dml.algorithms.traffic import Traffic


class RelayMix(RelayRule):
    """Sums of updates and a part of the models.

    Args:
        relays: the trees.
        strength: c, in (0, 1].
        loss_rule: one of ``registry.MODEL_RULES``.
        kappa: of the trees.
        X: x(0), [n, P].
    """

    def __init__(self, relays: Relays, strength: float, loss_rule: str, kappa: float, X: Tensor) -> None:
        super().__init__(relays)
        self._c, self._rule = strength, loss_rule
        self.lr_factor = 1 + strength * (kappa - 1)
        self._kept = Kept(X)
        self._x0 = X.clone() if loss_rule in ("hold_last", "x0") else None

    def before(self, X: Tensor, t: int) -> None:
        """Keeps x(t)."""
        self._kept.keep(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- (1 - c) x + the mean of c x + u."""
        for piece in self._relays.round(t):
            s, x = X[:, piece.columns], self._kept.x[:, piece.columns]
            s.sub_(x, alpha=1 - self._c)
            missing, scale = None, self._c
            if self._rule == "half_step":
                missing, scale = s, 1.0
            elif self._rule != "counts":
                missing = x if self._x0 is None else self._x0[:, piece.columns]
            mean = piece.mean(s, missing, scale)
            s.copy_(torch.add(mean, x, alpha=1 - self._c, out=x))
        self._kept.written(X)
        return self._relays.traffic(X.shape[1], counters=1)

    def memory(self) -> dict[str, Tensor]:
        """The messages, and x(0) where missing values count as it."""
        x0 = {} if self._x0 is None else {"x0": self._x0}
        return {**x0, **self._relays.memory()}
