"""D2: decentralized training over decentralized data (Tang et al., ICML 2018, arXiv 1803.07068).

    x(t+1) = W ( 2 x(t) - x(t-1) + u(t) - u(t-1) ),   x(1) = W h(0)

u = h - x. With the correction c = (x(t+1) - h(t)) / lr this is

    x(t+1) = W ( h(t) + lr c(t) ),   c(0) = 0

c tends to the node's gradient, which the next step no longer feels: heterogeneous data leave no distance
to the optimum. Divided by lr it stays right when the learning rate changes. It needs W symmetric with
lambda_min(W) > -1/3.
"""

import torch
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Rule, prefixed
from dml.algorithms.traffic import Traffic


class D2(Rule):
    """D-PSGD with each node's own gradient taken out.

    Args:
        mixing: W over the links.
        links: the messages.
        X: x(0), [n, P].
    """

    def __init__(self, mixing: Mixing, links: Links, X: Tensor) -> None:
        self._mixing, self._links = mixing, links
        self._correction = torch.zeros_like(X)

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- W (H + lr c), then c."""
        for part in self._mixing.exchange(t):
            h, c = X[:, part], self._correction[:, part]
            torch.add(h, c, alpha=lr, out=self._mixing.space(part))
            mixed = self._mixing.mixed(part)
            # Before the learning rate has left 0, there is no gradient to know.
            if lr:
                torch.sub(mixed, h, out=c).div_(lr)
            h.copy_(mixed)
        return self._links.traffic(X.shape[1])

    def memory(self) -> dict[str, Tensor]:
        """c [n, P], and the last messages that arrived."""
        return {"correction": self._correction, **prefixed("mixing_", self._mixing.memory())}
