"""Shares of vectors that are pushed to the neighbours, and added up by those who get them.

Node i splits its vector x_i into 1 + d_i equal shares, where d_i is the number of links that leave it: one
for itself, and one for each receiver. Its new vector is the sum of what it has got:

    x_i <- sum over j with a link to i, and i itself, of x_j / (1 + d_j)

The matrix of the shares is column-stochastic, so the sum over the nodes stays the same. Nodes also have a
weight, one number that is split and added up with the vector.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.links import Links
from dml.exchange.sums import Sums, chunk, table, too_dense

if TYPE_CHECKING:
    from dml.exchange.in_memory import InMemory
    from dml.ranks.halo import Halo

LOSS_RULES = ("hold_last", "self_weight", "lost")
"""What becomes of a lost share. ``hold_last``: messages carry the running sum of their link, so the next one
brings what was lost (Hadjicostis, Vaidya, Dominguez-Garcia 2016). ``self_weight``: the sender learns of it
and keeps the share. ``lost``: it is gone."""


class Push:
    """Equal shares to itself and to all receivers.

    Args:
        exchange: what it belongs to.
        links: over which shares go.
        loss_rule: one of ``LOSS_RULES``.
    """

    def __init__(self, exchange: "InMemory", links: Links, loss_rule: str) -> None:
        self._exchange, self._links, self._rule, like = exchange, links, loss_rule, exchange.like
        self._n, self._width, self._here = exchange.topology.n, like.shape[1], exchange.here
        n, self._into = self._n, exchange.into_here(links.receiver)
        # The links to nodes that live here.
        self._sender = torch.from_numpy(links.sender[self._into]).to(like.device)
        self._receiver = torch.from_numpy(links.receiver[self._into] - self._here.start).to(like.device)
        shares = 1 + torch.bincount(torch.from_numpy(links.sender).to(like.device), minlength=n).to(like)
        self.share = (1 / shares)[self._here, None]
        # Columns of a product, and those that are taken at a time.
        self._chunk = chunk(n, self._width, like)
        self._columns = chunk(n, self._width, like, exchange.caches)
        # A sender's own share, and the messages where these differ from it.
        rows = n if exchange.outgoing is None else n + len(links)
        self._space, self._weights = table(rows, self._columns, like), table(n, 1, like)
        self._halo: Halo | None = None
        self._reliable = self._shares(np.ones(len(links), bool)) if links.reliable else None
        self._waiting: tuple[Tensor, Tensor] | None = None
        if loss_rule == "hold_last" and not links.reliable:
            empty = (like.new_zeros(len(self._receiver), width) for width in (self._width, 1))
            vectors, weights = (exchange.of_links(tensor, links.receiver) for tensor in empty)
            self._waiting = vectors, weights
        self._sums: tuple[Sums, Sums] | None = None
        self._lost: Tensor | None = None
        self._late: Tensor | None = None
        self._t = 0

    def chunks(self, t: int, weights: Tensor) -> Iterator[slice]:
        """Starts a round: replaces the weights, and gives the chunks of columns, each to be summed once.

        Args:
            t: the round; a key of what is lost.
            weights: of the nodes that live here, [rows, 1]; replaced by the sums of their shares.
        """
        # A message holds the weight, too.
        self._t = t
        self._exchange.count(self._links.traffic(self._width + 1, t))
        self._begin(t)
        assert self._sums is not None
        torch.mul(weights, self.share, out=self._weights[self._here, :1])
        self._get_others(self._weights[:, :1])
        waiting = None if self._waiting is None else self._waiting[1]
        weights.copy_(self._taken(self._sums[1](1), self._weights[:, :1], self._sender, waiting))
        for start in range(0, self._width, self._columns):
            yield slice(start, min(start + self._columns, self._width))

    def space(self, part: slice) -> Tensor:
        """Where one share of each node's vector is to be written, [rows, columns]."""
        return self._space[self._here, : part.stop - part.start]

    def summed(self, part: slice) -> Tensor:
        """The sums of the shares that each node has got, [rows, columns], in a new matrix."""
        assert self._sums is not None
        n, columns = self._n, part.stop - part.start
        self._get_others(self._space[:, :columns])
        if self._exchange.outgoing is not None:
            links, vectors = self._links, self.space(part)[self._sender]
            messages = self._exchange.outgoing(vectors, links.sender, links.receiver, part, self._t)
            self._space[n:, :columns] = messages
        waiting = None if self._waiting is None else self._waiting[0][:, part]
        new = self._sums[0].of(columns, self._chunk)
        return self._taken(new, self._space[:, :columns], self._messages(), waiting)

    def memory(self) -> dict[str, Tensor]:
        """What waits on each link for a message that arrives, [k, P] and [k, 1]; empty if nothing can."""
        if self._waiting is None:
            return {}
        return {"waiting": self._waiting[0], "waiting_weight": self._waiting[1]}

    def _get_others(self, table: Tensor) -> None:
        """Gets the shares that come from other processes."""
        if self._halo is not None:
            self._halo.fill(table)

    def _messages(self) -> Tensor:
        """The row of the space in which the message of each link into here stands."""
        if self._exchange.outgoing is None:
            return self._sender
        return self._n + torch.arange(len(self._links), device=self._sender.device)

    def _begin(self, t: int) -> None:
        """Finds out which messages are lost, and which bring what has waited."""
        if self._reliable:
            self._sums = self._reliable
            return
        arrived, device = self._links.arrived(t), self._space.device
        self._lost = torch.from_numpy(np.flatnonzero(~arrived[self._into])).to(device)
        come = torch.from_numpy(arrived[self._into]).to(device)
        if self._waiting is not None:
            # A weight is never 0, so a link on which something waits has one.
            come &= self._waiting[1][:, 0] > 0
        self._late = torch.nonzero(come)[:, 0]
        self._sums = self._shares(arrived)

    def _shares(self, arrived: NDArray[np.bool_]) -> tuple[Sums, Sums]:
        """The sums of the vectors and of the weights that each node adds up: its own, and those that come."""
        n, nodes, ranks, links = self._n, np.arange(self._n), self._exchange.ranks, self._links
        kept = self._links.sender[~arrived] if self._rule == "self_weight" else nodes[:0]
        to = np.concatenate([nodes, kept, self._links.receiver[arrived]])
        own = self._exchange.outgoing is None
        messages = links.sender if own else n + np.arange(len(links))
        vectors = np.concatenate([nodes, kept, messages[arrived]])
        weights = np.concatenate([nodes, kept, links.sender[arrived]])
        dense, wanted = too_dense(len(to), n, len(self._space), self._width), None
        if ranks.size > 1:
            # Shares that are lost wait where they would have come to.
            used = arrived | (self._rule == "hold_last")
            reader, owner = (ranks.owner(n, ends[used]) for ends in (links.receiver, links.sender))
            wanted, self._halo = self._here, ranks.halo(reader, owner, links.sender[used])
        return (
            Sums(to, vectors, None, n, self._space, self._chunk, dense, wanted=wanted),
            Sums(to, weights, None, n, self._weights, 1, dense, wanted=wanted),
        )

    def _taken(self, new: Tensor, shares: Tensor, row: Tensor, waiting: Tensor | None) -> Tensor:
        """The sums of what has come, with what has waited on the links; what is lost now waits.

        ``row`` is the row of ``shares`` that each link into here carries.
        """
        if waiting is not None:
            new.index_add_(0, self._receiver[self._late], waiting[self._late])
            waiting[self._late] = 0
            waiting[self._lost] += shares[row[self._lost]]
        return new
