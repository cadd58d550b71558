"""The verb ``gather``: each node gets its neighbours' vectors, by ascending number, in column chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.links import Links
from dml.exchange.sums import chunk
from dml.ranks.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from dml.exchange.in_memory import Outgoing


@dataclass(frozen=True)
class Neighbourhoods:
    """Nodes that have the same number of vectors, their own included.

    Args:
        nodes: as rows of Y, [g].
        rows: of :meth:`Received.table`, by ascending number of the node that they came from, [g, d].
        own: the place of the node's own vector among them, [g].
    """

    nodes: NDArray[np.int64]
    rows: NDArray[np.int64]
    own: NDArray[np.int64]


class Received:
    """What the nodes have in one round: their own vectors, and the messages that arrived.

    Args:
        Y: the vectors of the nodes that live here, [rows, P].
        links: over which messages went.
        arrived: on which of them they arrived, [k].
        outgoing: what a sender makes of its vector for each receiver; None if it sends the vector itself.
        t: the round.
        ranks: the processes that share the nodes.

    Attributes:
        receiver, sender: the messages that arrived, by receiver and then by sender, [q].
        row: the row of :meth:`table` that holds each of them, [q]; a node's own vector is the row of its
            number.
    """

    def __init__(
        self,
        Y: Tensor,
        links: Links,
        arrived: NDArray[np.bool_],
        outgoing: "Outgoing | None",
        t: int,
        ranks: Ranks = ALONE,
    ) -> None:
        order = np.flatnonzero(arrived)
        order = order[np.lexsort((links.sender[order], links.receiver[order]))]
        self.receiver, self.sender = links.receiver[order], links.sender[order]
        self._n, self._ranks, self._here = links.topology.n, ranks, ranks.here(links.topology.n)
        self.row = self.sender if outgoing is None else self._n + np.arange(len(order))
        self._Y, self._outgoing, self._t = Y, outgoing, t
        reader, owner = (ranks.owner(self._n, ends) for ends in (self.receiver, self.sender))
        self._halo = ranks.halo(reader, owner, self.sender)

    def chunks(self) -> Iterator[slice]:
        """Chunks of columns such that the neighbourhoods of all nodes fit into a cache."""
        width = self._Y.shape[1]
        step = chunk(self._n + len(self.row), width, self._Y)
        for start in range(0, width, step):
            yield slice(start, min(start + step, width))

    def table(self, columns: slice) -> Tensor:
        """Some columns of the vectors: first the nodes' own, then the messages that differ from them.

        Of the nodes of other processes, only those are there whose vectors arrive here.
        """
        own = self._Y[:, columns]
        if self._ranks.size > 1:
            own = own.new_zeros(self._n, own.shape[1])
            own[self._here] = self._Y[:, columns]
            if self._halo is not None:
                self._halo.fill(own)
        if self._outgoing is None:
            return own
        vectors = own[torch.from_numpy(self.sender)]
        return torch.cat([own, self._outgoing(vectors, self.sender, self.receiver, columns, self._t)])

    def neighbourhoods(self, nodes: NDArray[np.bool_] | None = None) -> list[Neighbourhoods]:
        """The nodes that live here, in groups that have equally many vectors.

        Args:
            nodes: which, [n]; by default all.
        """
        n, here = self._n, np.zeros(self._n, bool)
        here[self._here] = True
        to = np.concatenate([np.arange(n), self.receiver])
        of = np.concatenate([np.arange(n), self.sender])
        row = np.concatenate([np.arange(n), self.row])
        order = np.lexsort((of, to))
        of, row = of[order], row[order]
        sizes = 1 + np.bincount(self.receiver, minlength=n)
        starts = np.cumsum(sizes) - sizes
        groups = []
        for size in np.unique(sizes):
            members = np.flatnonzero((sizes == size) & (here if nodes is None else nodes & here))
            places = starts[members][:, None] + np.arange(size)
            own = np.argmax(of[places] == members[:, None], axis=1)
            if len(members):
                groups.append(Neighbourhoods(members - self._here.start, row[places], own))
        return groups
