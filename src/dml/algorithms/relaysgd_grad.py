"""RelaySGD/Grad (Vogels et al., NeurIPS 2021, arXiv 2110.04175, appendix): RelaySum of updates.

    u_i(t) = h_i(t) - x_i(t)            x_i(t+1) = x_i(t) + total_i(t) / n

total being the RelaySum of u; what has not come yet counts as 0. Every update reaches every node once in
full, so there is no factor on the learning rate; but nothing draws the models together, and different
delays leave them apart where data are heterogeneous.
"""

from torch import Tensor

from dml.algorithms.relay import RelayRule, Relays
from dml.algorithms.rule import Kept
from dml.algorithms.traffic import Traffic


class RelaySGDGrad(RelayRule):
    """Sums of updates over one or more trees.

    Args:
        relays: the trees; their backlog is what a receiver of running sums finds after a loss.
        X: x(0), [n, P].
    """

    def __init__(self, relays: Relays, X: Tensor) -> None:
        super().__init__(relays)
        self._kept = Kept(X)

    def before(self, X: Tensor, t: int) -> None:
        """Keeps x(t)."""
        self._kept.keep(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- x + RelaySum(h - x) / n."""
        for piece in self._relays.round(t):
            u, x = X[:, piece.columns], self._kept.x[:, piece.columns]
            u.sub_(x)
            x.add_(piece.total(u))
            u.copy_(x)
        self._kept.written(X)
        return self._relays.traffic(X.shape[1], counters=0)

    def memory(self) -> dict[str, Tensor]:
        """The messages."""
        return self._relays.memory()
