"""Gradient tracking (Lorenzo, Scutari 2016; Nedic et al. 2017, arXiv 1607.03218), adapt then combine.

With the direction d_i(t) = (h_i(t) - x_i(t)) / lr of the local steps, and a correction c,

    y(t)   = d(t) + c(t)                 the tracker; sum_i y_i = sum_i d_i, as sum_i c_i = 0
    x(t+1) = W ( x(t) + lr y(t) )
    c(t+1) = W y(t) - d(t),   c(0) = 0

y tends to the mean direction over all nodes, on every node. Divided by lr, c stays right when the learning
rate changes. Each neighbour gets two vectors.
"""

import torch
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Kept, Rule, prefixed
from dml.algorithms.traffic import Traffic


class GradientTracking(Rule):
    """Models and trackers, both averaged.

    Args:
        models: W over the links.
        trackers: another of the same; a lost message loses both its vectors.
        links: the messages.
        X: x(0), [n, P].
    """

    def __init__(self, models: Mixing, trackers: Mixing, links: Links, X: Tensor) -> None:
        self._models, self._trackers, self._links = models, trackers, links
        self._kept, self._correction = Kept(X), torch.zeros_like(X)

    def before(self, X: Tensor, t: int) -> None:
        """Keeps x(t)."""
        self._kept.keep(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- W (H + lr c), then c."""
        for part, _ in zip(self._models.exchange(t), self._trackers.exchange(t), strict=True):
            h, x, c = X[:, part], self._kept.x[:, part], self._correction[:, part]
            # Before the learning rate has left 0, nothing has moved and there is nothing to track.
            d = (h - x).div_(lr) if lr else torch.zeros_like(h)
            torch.add(h, c, alpha=lr, out=self._models.space(part))
            torch.add(c, d, out=self._trackers.space(part))
            x.copy_(self._models.mixed(part))
            h.copy_(x)
            torch.sub(self._trackers.mixed(part), d, out=c)
        self._kept.written(X)
        return self._links.traffic(2 * X.shape[1])

    def memory(self) -> dict[str, Tensor]:
        """c [n, P], and the last messages that arrived."""
        return {
            "correction": self._correction,
            **prefixed("models_", self._models.memory()),
            **prefixed("trackers_", self._trackers.memory()),
        }
