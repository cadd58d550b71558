"""The verb ``average_in_turn``: the rows of Y <- W Y one after another, each in place of the old one.

The nodes of a round have an order. When it is node i's turn, its vector becomes

    y_i <- sum over j of W_ij y_j

with the vectors as they are then: nodes whose turn was before have replaced theirs. So row i of the round's
matrix is row i of W times the rows of the nodes before it, and a round depends on the order. Lost messages
count as in :mod:`dml.exchange.average`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.links import Links
from dml.exchange.sums import chunk

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dml.exchange.average import Weights
    from dml.exchange.in_memory import InMemory

Turns = Callable[[int, NDArray[np.bool_]], NDArray[np.int64]]
"""(round, which links' messages arrive [k]) -> the nodes that average, in their order."""


class AverageInTurn:
    """A weighted average over the links, which one node after another takes.

    Args:
        exchange: what it belongs to.
        links: over which messages go.
        W: of each round, as for :class:`dml.exchange.average.Average`.
        loss_rule: one of ``average.LOSS_RULES``.
        turns: the order of the nodes.
        anew: W depends on the vectors, so that each row is computed when it is its node's turn.
    """

    def __init__(
        self, exchange: "InMemory", links: Links, W: "Weights", loss_rule: str, turns: Turns, *, anew: bool
    ) -> None:
        self._exchange, self._links, self._W, self._rule = exchange, links, W, loss_rule
        self._turns, self._anew = turns, anew
        self._n, self._width = exchange.like.shape
        self._chunk = chunk(self._n, self._width, exchange.like)
        order = np.lexsort((links.sender, links.receiver))
        ends = np.cumsum(np.bincount(links.receiver, minlength=self._n))[:-1]
        self._into = np.split(order, ends)
        self._memory: dict[str, Tensor] = {}
        if loss_rule == "hold_last" and not links.reliable:
            self._memory["held"] = exchange.like.new_zeros(len(links), self._width)
            self._memory["heard"] = torch.zeros(len(links), dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, Y: Tensor, t: int, listeners: NDArray[np.bool_] | None = None) -> None:
        """Takes the averages of one round, in place.

        Args:
            Y: [n, P].
            t: the round; a key of what is lost.
            listeners: the nodes to which vectors are sent, [n]; by default all.
        """
        arrived = self._links.arrived(t)
        turns = self._turns(t, arrived)
        sent = self._links.traffic(self._width, t, listeners)
        path = self._links.path_of_hops(self._width, self._hops(turns, self._links.used(t, listeners)))
        self._exchange.count(replace(sent, path=path))
        # Only a W that leaves out lost messages knows which ones are lost.
        known = arrived if self._rule == "renormalise" else np.ones_like(arrived)
        W = None if self._anew else self._W(t, known)
        for node in turns.tolist():
            own = known & (self._links.receiver == node) if self._anew else known
            self._replace(Y, t, node, self._W(t, own) if W is None else W, arrived)

    def _hops(self, turns: NDArray[np.int64], used: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The hop in which the message of each link travels, counted from 1; 0 for none, [k].

        The messages to a node travel once those of its neighbours whose turn was before have arrived.
        """
        last, hop = np.zeros(self._n, np.int64), np.zeros(len(self._links), np.int64)
        for node in turns.tolist():
            into = self._into[node]
            into = into[used[into]]
            if len(into):
                hop[into] = last[node] = 1 + last[self._links.sender[into]].max()
        return hop

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, [k, P], and on which links, [k]; empty if none is ever lost."""
        return self._memory

    def _replace(self, Y: Tensor, t: int, node: int, W: "csr_array", arrived: NDArray[np.bool_]) -> None:
        """Gives one node its average of the vectors as they are."""
        into = self._into[node]
        own, weights = self._row(W, node, into)
        came, read = arrived[into], weights != 0
        recalled = np.zeros_like(came)
        if self._memory:
            heard = self._memory["heard"].numpy()
            recalled = ~came & read & heard[into]
            heard[into[came]] = True
            read = came | recalled
        own += float(weights[~came & ~recalled].sum())
        new, old = into[came & read], into[recalled]
        scale = torch.from_numpy(weights[came & read]).to(Y)
        old_scale = torch.from_numpy(weights[recalled]).to(Y)
        for start in range(0, self._width, self._chunk):
            part = slice(start, min(start + self._chunk, self._width))
            messages = self._messages(Y, part, new, t)
            mean = _combined(scale, messages)
            if own:
                mean.add_(Y[node, part], alpha=own)
            if self._memory:
                held = self._memory["held"][:, part]
                mean += _combined(old_scale, held[_rows(old, Y)])
                held[_rows(new, Y)] = messages
            Y[node, part] = mean

    def _messages(self, Y: Tensor, part: slice, links: NDArray[np.int64], t: int) -> Tensor:
        """Some columns of the messages over some links, [links, columns]."""
        sender, receiver = self._links.sender[links], self._links.receiver[links]
        vectors = Y[:, part].index_select(0, _rows(sender, Y))
        outgoing = self._exchange.outgoing
        return vectors if outgoing is None else outgoing(vectors, sender, receiver, part, t)

    def _row(self, W: "csr_array", node: int, into: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
        """A node's weight of its own vector, and those of the links into it.

        Raises:
            ValueError: W has entries that no link carries.
        """
        row = np.zeros(self._n)
        entries = slice(W.indptr[node], W.indptr[node + 1])
        row[W.indices[entries]] = W.data[entries]
        own, senders = float(row[node]), self._links.sender[into]
        weights = row[senders]
        row[senders] = row[node] = 0
        if row.any():
            raise ValueError("W has entries that no link carries")
        return own, weights


def _combined(weights: Tensor, vectors: Tensor) -> Tensor:
    """The weighted sum of the rows, [columns]; a weight of 0 keeps out what is not finite."""
    used = weights != 0
    return weights @ vectors if bool(used.all()) else weights[used] @ vectors[used]


def _rows(numbers: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(like.device)
