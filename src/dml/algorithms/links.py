"""The directed messages of a round, and which of them arrive."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.algorithms.traffic import BYTES_PER_NUMBER, Traffic
from dml.topology import Topology


@dataclass(frozen=True, eq=False)
class Links:
    """The messages that each round sends, k of them, from ``sender`` to ``receiver``.

    A message over an edge of weight p arrives with probability p (1 - drop), one that uses no edge of the
    topology with 1 - drop. Its draw is keyed by (seed, round, receiver, sender), by what the two are called:
    algorithms lose the same messages of the same round, and so do the nodes that are left of a graph.

    Args:
        topology: the graph.
        receiver: [k].
        sender: [k].
        edge: the row of ``topology.edges`` that the message uses, [k]; -1 for none.
        drop: probability that a message is lost beside what the edge's weight says.
        seed: the experiment's seed.
    """

    topology: Topology
    receiver: NDArray[np.int64]
    sender: NDArray[np.int64]
    edge: NDArray[np.int64]
    drop: float
    seed: int
    _traffic: dict[int, Traffic] = field(default_factory=dict, init=False)

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """That each message arrives, [k]."""
        weights = np.append(self.topology.weights, 1.0)
        return weights[self.edge] * (1 - self.drop)

    @cached_property
    def reliable(self) -> bool:
        """Whether every message arrives."""
        return bool(np.all(self.probability >= 1))

    @cached_property
    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        called = self.topology.numbers
        return called[self.receiver], called[self.sender]

    def arrived(self, step: int) -> NDArray[np.bool_]:
        """Which messages of a round arrive, [k]."""
        draw = randomness.uniforms(self.seed, "link", step, *self._ends)
        return draw < self.probability

    def traffic(self, numbers: int) -> Traffic:
        """The bytes of one such round in which each message holds so many numbers, arrived or not."""
        if numbers not in self._traffic:
            self._traffic[numbers] = self._count(numbers * BYTES_PER_NUMBER)
        return self._traffic[numbers]

    def _count(self, size: int) -> Traffic:
        sent = np.bincount(self.sender, minlength=self.topology.n).astype(np.int64) * size
        per_edge = np.zeros((self.topology.m, 2), np.int64)
        used = self.edge >= 0
        backwards = self.sender[used] != self.topology.edges[self.edge[used], 0]
        np.add.at(per_edge, (self.edge[used], backwards.astype(np.int64)), size)
        return Traffic(sent, per_edge)


def over_edges(topology: Topology, drop: float, seed: int, edges: NDArray[np.int64] | None = None) -> Links:
    """Every edge i < j, or those rows of ``topology.edges``: first all messages i to j, then all j to i."""
    rows = np.arange(topology.m) if edges is None else edges
    i, j = topology.edges[rows].T.astype(np.int64)
    receiver, sender = np.concatenate([j, i]), np.concatenate([i, j])
    return Links(topology, receiver, sender, np.tile(rows, 2), drop, seed)


def from_offsets(topology: Topology, offsets: Sequence[int], drop: float, seed: int) -> Links:
    """Node i hears from (i - offset) mod n for each offset, whatever the edges of the topology are."""
    receiver = np.repeat(np.arange(topology.n), len(offsets))
    sender = (receiver - np.tile(np.asarray(offsets, np.int64), topology.n)) % topology.n
    return Links(topology, receiver, sender, np.full(len(receiver), -1), drop, seed)
