"""Quasi-global momentum (Lin, Karimireddy, Stich, Jaggi, ICML 2021, arXiv 2102.04761).

    h = x - lr ( g + mu (mu m + g) )              local Nesterov SGD that starts from the buffer m
    x_i(t+1) = sum_j W_ij h_j(t)
    m <- mu m + (1 - mu) ( x(t) - x(t+1) ) / lr

The momentum is that of the averaged model's own way, not of the node's gradients. m starts at 0 and stays
as it is while the learning rate is 0.
"""

import torch
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Kept, Rule, prefixed
from dml.algorithms.traffic import Traffic


class QuasiGlobalMomentum(Rule):
    """D-PSGD with the momentum of the averaged models.

    Args:
        mixing: W over the links.
        links: the messages.
        mu: the momentum, in [0, 1).
        X: x(0), [n, P].
    """

    def __init__(self, mixing: Mixing, links: Links, mu: float, X: Tensor) -> None:
        self._mixing, self._links, self._mu = mixing, links, mu
        self._kept, self._m = Kept(X), torch.zeros_like(X)

    def momentum(self) -> Tensor:
        """m, [n, P]."""
        return self._m

    def before(self, X: Tensor, t: int) -> None:
        """Keeps x(t)."""
        self._kept.keep(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- W H, then m."""
        for part in self._mixing.exchange(t):
            h, x, m = X[:, part], self._kept.x[:, part], self._m[:, part]
            self._mixing.space(part).copy_(h)
            mixed = self._mixing.mixed(part)
            if lr:
                moved = torch.sub(x, mixed, out=self._mixing.space(part))
                m.mul_(self._mu).add_(moved, alpha=(1 - self._mu) / lr)
            h.copy_(mixed)
            x.copy_(mixed)
        self._kept.written(X)
        return self._links.traffic(X.shape[1])

    def memory(self) -> dict[str, Tensor]:
        """M [n, P], and the last messages that arrived."""
        return {"momentum": self._m, **prefixed("mixing_", self._mixing.memory())}
