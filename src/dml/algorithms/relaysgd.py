"""RelaySGD (Vogels et al., NeurIPS 2021, arXiv 2110.04175, algorithm 2): RelaySum of models.

    x_i(t+1) = 1/n sum_j h_j(t - delay_ij) = ( total_i(t) + (n - n_i) missing_i ) / n

total and n_i being the RelaySum of the half steps h. Every node's data weigh 1/n in every model, only
their age differs, so heterogeneous data leave no distance to the optimum. The models move slower than with
all-reduce by kappa = 1 + the mean delay (``lr_factor``): the learning rate may be that much higher.
"""

from torch import Tensor

from dml.algorithms.relay import RelayRule, Relays
from dml.algorithms.traffic import Traffic


class RelaySGD(RelayRule):
    """Sums of half steps over one or more trees.

    Args:
        relays: the trees.
        loss_rule: one of ``registry.MODEL_RULES``.
        lr_factor: kappa of the trees.
        X: x(0), [n, P].
    """

    def __init__(self, relays: Relays, loss_rule: str, lr_factor: float, X: Tensor) -> None:
        super().__init__(relays)
        self._rule, self.lr_factor = loss_rule, lr_factor
        self._x0 = X.clone() if loss_rule in ("hold_last", "x0") else None
        self._x = X.clone() if loss_rule == "own" else None

    def before(self, X: Tensor, t: int) -> None:
        """Keeps x(t) where missing values count as it."""
        if self._x is not None:
            self._x.copy_(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- the mean of the half steps of all nodes, each as late as it is far."""
        for piece in self._relays.round(t):
            h = X[:, piece.columns]
            missing = h if self._rule == "half_step" else None
            if (kept := self._x0 if self._x is None else self._x) is not None:
                missing = kept[:, piece.columns]
            piece.mean(h, missing)
        return self._relays.traffic(X.shape[1], counters=1)

    def memory(self) -> dict[str, Tensor]:
        """The messages, and x(0) where missing values count as it."""
        x0 = {} if self._x0 is None else {"x0": self._x0}
        return {**x0, **self._relays.memory()}
