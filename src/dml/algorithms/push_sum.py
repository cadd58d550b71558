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
from dml.algorithms.rule import Kept, Rule
from dml.algorithms.sums import Sums, chunk, table, too_dense
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
        n, self._width = X.shape
        self._sender = torch.from_numpy(links.sender).to(X.device)
        self._receiver = torch.from_numpy(links.receiver).to(X.device)
        self._share = 1 / (1 + torch.bincount(self._sender, minlength=n).to(X))[:, None]
        self._kept, self._w = Kept(X), X.new_ones(n, 1)
        self._chunk = chunk(n, self._width, X)
        self._space, self._weights = table(n, self._chunk, X), table(n, 1, X)
        k = len(links.receiver)
        self._reliable = self._shares(np.ones(k, bool)) if links.reliable else None
        self._waiting: tuple[Tensor, Tensor] | None = None
        if loss_rule == "hold_last" and not links.reliable:
            self._waiting = X.new_zeros(k, self._width), X.new_zeros(k, 1)

    def before(self, X: Tensor, t: int) -> None:
        """Keeps z(t)."""
        self._kept.keep(X)

    @torch.no_grad()
    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- z(t + 1)."""
        sums, weights, lost, late = self._start(t)
        moved = self._w - 1
        own = torch.mul(self._w, self._share, out=self._weights[:, :1])
        waiting = None if self._waiting is None else self._waiting[1]
        self._w.copy_(self._taken(weights(1), own, waiting, lost, late))
        for start in range(0, self._width, self._chunk):
            part = slice(start, min(start + self._chunk, self._width))
            x, z = X[:, part], self._kept.x[:, part]
            own = self._space[:, : part.stop - start]
            torch.addcmul(x, z, moved, out=own).mul_(self._share)  # w z + (h - z), shared out
            waiting = None if self._waiting is None else self._waiting[0][:, part]
            torch.div(self._taken(sums(own.shape[1]), own, waiting, lost, late), self._w, out=z)
            x.copy_(z)
        self._kept.written(X)
        return self._links.traffic(X.shape[1] + 1)

    def _start(self, t: int) -> tuple[Sums, Sums, Tensor | None, Tensor | None]:
        """Of a round, the sums of vectors and of weights, the messages lost, and those that bring more."""
        if self._reliable:
            return *self._reliable, None, None
        arrived = self._links.arrived(t)
        lost = torch.from_numpy(np.flatnonzero(~arrived)).to(self._w.device)
        come = torch.from_numpy(arrived.copy()).to(self._w.device)
        if self._waiting is not None:
            # A weight is never 0, so what waits has one.
            come &= self._waiting[1][:, 0] > 0
        return *self._shares(arrived), lost, torch.nonzero(come)[:, 0]

    def _shares(self, arrived: NDArray[np.bool_]) -> tuple[Sums, Sums]:
        """The sums of the shares that each node takes up: its own, and those that have come."""
        n, nodes = len(self._w), np.arange(len(self._w))
        kept = self._links.sender[~arrived] if self._rule == "self_weight" else nodes[:0]
        to = np.concatenate([nodes, kept, self._links.receiver[arrived]])
        row = np.concatenate([nodes, kept, self._links.sender[arrived]])
        dense = too_dense(len(to), n, self._width)
        return (
            Sums(to, row, None, n, self._space, self._chunk, dense),
            Sums(to, row, None, n, self._weights, 1, dense),
        )

    def _taken(
        self, new: Tensor, own: Tensor, waiting: Tensor | None, lost: Tensor | None, late: Tensor | None
    ) -> Tensor:
        """The sums of what has come, with what has waited on the edges."""
        if waiting is not None:
            new.index_add_(0, self._receiver[late], waiting[late])
            waiting[late] = 0
            waiting[lost] += own[self._sender[lost]]
        return new

    def memory(self) -> dict[str, Tensor]:
        """The weights, [n, 1], and what waits on each edge for a message that arrives."""
        memory = {"weight": self._w}
        if self._waiting is not None:
            memory |= {"waiting": self._waiting[0], "waiting_weight": self._waiting[1]}
        return memory
