"""Stochastic gradient push (Assran et al., ICML 2019, arXiv 1811.10792): push-sum with real weights.

Node i holds a sum x_i and a weight w_i, w_i(0) = 1, and its model is z_i = x_i / w_i:

    x_i <- x_i + h_i - z_i                              the local steps start from z_i and end at h_i
    (x_i, w_i) / (1 + d_i)                              to itself and each of the d_i neighbours
    (x_i, w_i) <- the sum of what has come              z_i = x_i / w_i

The matrix of the shares is column-stochastic: sum_i x_i moves by the local steps alone and sum_i w_i = n,
so all z tend to the mean without any node's knowing another's degree.

A lost message under ``hold_last``: messages carry the running sum of their edge, so the next one brings
what was lost (Hadjicostis, Vaidya, Dominguez-Garcia 2016). ``self_weight``: the sender learns of it and
keeps the share. ``lost``: it is gone; z stays a weighted mean.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import chunks
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic


class PushSum(Rule):
    """Equal shares to itself and all neighbours.

    Args:
        links: the messages.
        loss_rule: one of ``registry.PUSH_RULES``.
        X: x(0), [n, P].
    """

    def __init__(self, links: Links, loss_rule: str, X: Tensor) -> None:
        self._links, self._rule = links, loss_rule
        self._receiver = torch.from_numpy(links.receiver).to(X.device)
        self._sender = torch.from_numpy(links.sender).to(X.device)
        self._share = 1 / (1 + torch.bincount(self._sender, minlength=len(X)).to(X))[:, None]
        self._z, self._w = X.clone(), torch.ones(len(X), 1, dtype=X.dtype, device=X.device)
        self._waiting: tuple[Tensor, Tensor] | None = None
        if loss_rule == "hold_last" and not links.reliable:
            k = len(links.receiver)
            self._waiting = X.new_zeros(k, X.shape[1]), X.new_zeros(k, 1)

    def before(self, X: Tensor, t: int) -> None:
        """Keeps z(t)."""
        self._z.copy_(X)

    @torch.no_grad()
    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- z(t + 1)."""
        arrived = np.ones(len(self._sender), bool) if self._links.reliable else self._links.arrived(t)
        sums = self._sums(arrived).to(X)
        lost = torch.from_numpy(np.flatnonzero(~arrived)).to(X.device)
        come = torch.from_numpy(arrived).to(X.device)
        if self._waiting is not None:
            # A weight is never 0, so what waits has one.
            come &= self._waiting[1][:, 0] > 0
        late = torch.nonzero(come)[:, 0]
        for part in chunks(X, 2 * len(X)):
            x = X[:, part]
            x.addcmul_(self._z[:, part], self._w - 1)  # w z + (h - z)
            self._push(x, sums, None if self._waiting is None else self._waiting[0][:, part], lost, late)
        self._push(self._w, sums, None if self._waiting is None else self._waiting[1], lost, late)
        X.div_(self._w)
        return self._links.traffic(X.shape[1] + 1)

    def _sums(self, arrived: NDArray[np.bool_]) -> Tensor:
        """Which shares each node takes up, [n, n]: its own, and those that have come."""
        receiver, sender = self._links.receiver, self._links.sender
        sums = np.eye(self._links.topology.n)
        sums[receiver[arrived], sender[arrived]] = 1
        if self._rule == "self_weight":
            np.add.at(sums, (sender[~arrived], sender[~arrived]), 1)
        return torch.from_numpy(sums)

    def _push(self, x: Tensor, sums: Tensor, waiting: Tensor | None, lost: Tensor, late: Tensor) -> None:
        x.mul_(self._share)
        new = sums @ x
        if waiting is not None:
            new.index_add_(0, self._receiver[late], waiting[late])
            waiting[late] = 0
            waiting[lost] += x[self._sender[lost]]
        x.copy_(new)

    def memory(self) -> dict[str, Tensor]:
        """The weights, [n, 1], and what waits on each edge for a message that arrives."""
        memory = {"weight": self._w}
        if self._waiting is not None:
            memory |= {"waiting": self._waiting[0], "waiting_weight": self._waiting[1]}
        return memory
