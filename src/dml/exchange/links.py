"""Directed links between nodes, and which of the messages over them arrive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.exchange.traffic import BYTES_PER_NUMBER, Path, Traffic, ring
from dml.topology import Topology

Present = Callable[[int], NDArray[np.bool_]]
"""Which links there are in a round, [k]."""


@dataclass(frozen=True, eq=False)
class Links:
    """k directed links, each from a ``sender`` to a ``receiver``.

    A message over an edge of weight p arrives with probability p (1 - drop); a message that uses no edge of
    the topology arrives with probability 1 - drop. The draw for the t-th message of a link is keyed by (seed,
    t, receiver, sender), where the nodes have the names that they have in the whole graph. So all algorithms
    lose the same messages, and a graph that has lost nodes loses the same ones as before.

    Args:
        topology: the graph.
        receiver: [k].
        sender: [k].
        edge: the row of ``topology.edges`` that each link uses, [k]; -1 for none.
        drop: the probability that a message is lost, besides what the edge's weight says.
        seed: the experiment's seed.
        present: which of the links there are in each round; by default all of them, always.
        complete: the links join all nodes to all others, so that a mean can go around a ring.
    """

    topology: Topology
    receiver: NDArray[np.int64]
    sender: NDArray[np.int64]
    edge: NDArray[np.int64]
    drop: float
    seed: int
    present: Present | None = None
    complete: bool = False
    _traffic: dict[int, Traffic] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.receiver)

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """The probability that a message over each link arrives, [k]."""
        weights = np.append(self.topology.weights, 1.0)
        return weights[self.edge] * (1 - self.drop)

    @cached_property
    def reliable(self) -> bool:
        """Whether every link is there in every round, and every message arrives."""
        return self.present is None and bool(np.all(self.probability >= 1))

    @cached_property
    def _names(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        names = self.topology.numbers
        return names[self.receiver], names[self.sender]

    def arrived(self, number: int | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which links carry a message that arrives, [k].

        Args:
            number: the number of the message, which is the round for all links alike, or of each link its
                own, [k].
        """
        if self.reliable:
            return np.ones(len(self), bool)
        arrives: NDArray[np.bool_] = (
            randomness.uniforms(self.seed, "link", number, *self._names) < self.probability
        )
        if self.present is not None:
            if not isinstance(number, int):
                raise ValueError("links that change from round to round have one message per round")
            arrives &= self.present(number)
        return arrives

    def traffic(self, numbers: int, t: int, listeners: NDArray[np.bool_] | None = None) -> Traffic:
        """The bytes of one message over each link, whether or not it arrives.

        Args:
            numbers: in each message.
            t: the round.
            listeners: the nodes to which messages are sent, [n]; by default all.
        """
        if self.present is None and listeners is None:
            if numbers not in self._traffic:
                self._traffic[numbers] = self._count(numbers, np.ones(len(self), bool))
            return self._traffic[numbers]
        return self._count(numbers, self.used(t, listeners))

    def used(self, t: int, listeners: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Which links carry a message in a round, whether or not it arrives, [k].

        Args:
            t: the round.
            listeners: the nodes to which messages are sent, [n]; by default all.
        """
        used = np.ones(len(self), bool) if self.present is None else self.present(t)
        return used if listeners is None else used & listeners[self.receiver]

    def _count(self, numbers: int, used: NDArray[np.bool_]) -> Traffic:
        size = numbers * BYTES_PER_NUMBER
        sent = np.bincount(self.sender[used], minlength=self.topology.n).astype(np.int64) * size
        per_edge = np.zeros((self.topology.m, 2), np.int64)
        on_edge = used & (self.edge >= 0)
        edge, sender = self.edge[on_edge], self.sender[on_edge]
        np.add.at(per_edge, (edge, (sender != self.topology.edges[edge, 0]).astype(np.int64)), size)
        if not used.any():
            path = Path()
        elif self.complete:
            path = ring(self.topology.n, size)
        else:
            path = Path(1, size, int(self._messages(used).max()) * size)
        return Traffic(sent, per_edge, path=path)

    def _messages(self, used: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The number of messages that each node sends and receives, [n]."""
        return np.bincount(
            np.concatenate([self.sender[used], self.receiver[used]]), minlength=self.topology.n
        )

    def path_of_hops(self, numbers: int, hop: NDArray[np.int64]) -> Path:
        """The path of messages that do not all travel at the same time.

        Args:
            numbers: in each message.
            hop: the hop in which the message of each link travels, counted from 1; 0 for none, [k].
        """
        size, hops = numbers * BYTES_PER_NUMBER, int(hop.max(initial=0))
        counts = np.zeros((hops + 1, self.topology.n), np.int64)
        for end in (self.sender, self.receiver):
            np.add.at(counts, (hop, end), 1)
        return Path(hops, hops * size, int(counts[1:].max(1, initial=0).sum()) * size)


def over_edges(
    topology: Topology,
    drop: float,
    seed: int,
    edges: NDArray[np.int64] | None = None,
    present: Present | None = None,
) -> Links:
    """Both directions of every edge (i, j), i < j: first all links from i to j, then all from j to i.

    The links into one node have ascending senders.

    Args:
        topology: the graph.
        drop: the probability that a message is lost, besides what the edge's weight says.
        seed: the experiment's seed.
        edges: some rows of ``topology.edges``; by default all.
        present: as for :class:`Links`.
    """
    rows = np.arange(topology.m) if edges is None else edges
    i, j = topology.edges[rows].T.astype(np.int64)
    receiver, sender = np.concatenate([j, i]), np.concatenate([i, j])
    return Links(topology, receiver, sender, np.tile(rows, 2), drop, seed, present)


def path_over_edges(topology: Topology, sent: NDArray[np.int64]) -> Path:
    """The path of messages that travel at the same time.

    Args:
        topology: the graph.
        sent: the bytes over each edge in both directions, [m, 2], as in ``Traffic.edges``.
    """
    of_node = np.zeros(topology.n, np.int64)
    np.add.at(of_node, topology.edges, sent.sum(1, keepdims=True))
    return Path(int(sent.any()), int(sent.max(initial=0)), int(of_node.max(initial=0)))


def all_to_all(topology: Topology, drop: float, seed: int) -> Links:
    """Every node hears every other one, whatever the edges of the topology are; ascending senders."""
    n = topology.n
    receiver = np.repeat(np.arange(n), n - 1)
    place = np.tile(np.arange(n - 1), n)
    sender, edge = place + (place >= receiver), np.full(len(place), -1)
    return Links(topology, receiver, sender, edge, drop, seed, complete=True)


def from_offsets(topology: Topology, offsets: Sequence[int], drop: float, seed: int) -> Links:
    """Node i hears (i - offset) mod n for each offset, whatever the edges of the topology are."""
    receiver = np.repeat(np.arange(topology.n), len(offsets))
    sender = (receiver - np.tile(np.asarray(offsets, np.int64), topology.n)) % topology.n
    return Links(topology, receiver, sender, np.full(len(receiver), -1), drop, seed)
