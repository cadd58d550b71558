"""The exchange of nodes whose vectors are rows of a matrix, of which each of some processes has a part."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange import traffic
from dml.exchange.average import Average, Weights
from dml.exchange.gather import Received
from dml.exchange.in_turn import AverageInTurn, Turns
from dml.exchange.links import Links, Present, from_offsets, over_edges, path_over_edges
from dml.exchange.push import Push
from dml.exchange.send import Channel
from dml.exchange.server import Server
from dml.exchange.total import AllToAll
from dml.exchange.traffic import Traffic
from dml.ranks.ranks import ALONE, Ranks
from dml.topology import Topology

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SENT_CACHES = 32
"""The same where chunks are sent: a process waits for the others in each of them."""

Outgoing = Callable[[Tensor, NDArray[np.int64], NDArray[np.int64], slice, int], Tensor]
"""(vectors of the senders [k, columns], sender [k], receiver [k], which columns, round) -> the messages that
they send, [k, columns]. Whoever replaces it decides per link what a node sends."""


class InMemory:
    """The verbs by which rules learn about other nodes, and the bytes that these messages cost.

    The nodes may be spread over processes (:mod:`dml.ranks`), of which each has a block of them; then a verb
    is called in all processes at once, and the numbers are the same, bit for bit. What all nodes know, such
    as W, links and headers, is known in all processes.

    There are four verbs: ``average`` (Y <- W Y), ``gather`` (each node gets its neighbours' vectors),
    ``send`` (each link carries a vector of its own) and ``total`` (the mean over all nodes). Two are averages
    of another form: in ``average_in_turn`` nodes replace their vectors one after another, and in ``push``
    they add up the shares that are sent to them. And nodes can be clients of a ``server``. Besides vectors, a
    rule may read the headers; it learns about other nodes in no other way.

    Args:
        topology: the graph.
        like: a matrix with the shape, type and device of the models that live here, [rows, P].
        seed: the experiment's seed; a key of what is lost.
        drop: the probability that a message is lost, besides what its edge's weight says.
        links: over which messages go; by default both directions of every edge.
        present: which of the default links there are in each round; by default all, always.
        outgoing: what a node sends to a neighbour instead of its vector; by default the vector itself.
        ranks: the processes that share the nodes; this one alone by default.

    Attributes:
        here: the nodes whose vectors live in this process.
        caches: how many caches a chunk of all nodes' columns may fill; see :func:`dml.exchange.sums.chunk`.
        headers: scalars that come with the models, by name, [n] each: ``samples``, ``steps``, ``loss``.
    """

    def __init__(
        self,
        topology: Topology,
        like: Tensor,
        *,
        seed: int = 0,
        drop: float = 0.0,
        links: Links | None = None,
        present: Present | None = None,
        outgoing: Outgoing | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if outgoing is not None and ranks.size > 1:
            raise ValueError("messages of their own need all nodes in one process")
        self.topology, self.like, self.seed, self.drop = topology, like, seed, drop
        self.links = over_edges(topology, drop, seed, present=present) if links is None else links
        self.outgoing = outgoing
        self.ranks, self.here = ranks, ranks.here(topology.n)
        self.caches = 1 if ranks.size == 1 else SENT_CACHES
        self.headers: dict[str, NDArray[np.float64]] = {}
        self._sent: Traffic | None = None
        # What rules remember besides a row for each node: the node that each entry belongs to, None for all.
        self._kept: list[tuple[Tensor, NDArray[np.int64] | None]] = []

    def average(self, W: "csr_array | Weights", loss_rule: str, offset: int | None = None) -> Average:
        """Y <- W Y over the links.

        Args:
            W: row-stochastic, [n, n], with entries on the diagonal and on the links alone; or W of each
                round.
            loss_rule: what a lost message counts as, one of ``average.LOSS_RULES``.
            offset: node i hears only node (i - offset) mod n, whatever the links are.

        Raises:
            ValueError: W has entries that no link carries.
        """
        links = self.links
        if offset is not None:
            links = from_offsets(self.topology, [offset], self.drop, self.seed)
        return Average(self, links, W, loss_rule)

    def average_in_turn(
        self, W: Weights, loss_rule: str, turns: Turns, *, anew: bool = False
    ) -> AverageInTurn:
        """Y <- W Y, row by row: a node reads the new vectors of those whose turn was before.

        Args:
            W: row-stochastic, [n, n], of each round.
            loss_rule: what a lost message counts as, one of ``average.LOSS_RULES``.
            turns: the order of the nodes in each round.
            anew: W depends on the vectors, so that each row is computed when it is its node's turn.

        Raises:
            NotImplementedError: the nodes live in several processes.
        """
        self._needs_all_here("average_in_turn")
        return AverageInTurn(self, self.links, W, loss_rule, turns, anew=anew)

    def gather(
        self, Y: Tensor, t: int, listeners: NDArray[np.bool_] | None = None, *, counted: bool = False
    ) -> Received:
        """The vectors that each node gets from its neighbours, by ascending number.

        Args:
            Y: the vectors of the nodes that live here, [rows, P].
            t: the round; a key of what is lost.
            listeners: the nodes to which vectors are sent, [n]; by default all.
            counted: these messages have been counted in this round already.
        """
        if not counted:
            self.count(self.links.traffic(Y.shape[1], t, listeners))
        return Received(Y, self.links, self.links.arrived(t), self.outgoing, t, self.ranks)

    def send(self, edges: NDArray[np.int64]) -> Channel:
        """A channel over both directions of some edges.

        Args:
            edges: rows of ``topology.edges``.

        Raises:
            NotImplementedError: the nodes live in several processes.
        """
        self._needs_all_here("send")
        return Channel(self, over_edges(self.topology, self.drop, self.seed, edges))

    def push(self, loss_rule: str) -> Push:
        """Equal shares of each node's vector to itself and to its receivers.

        Args:
            loss_rule: what becomes of a lost share, one of ``push.LOSS_RULES``.
        """
        return Push(self, self.links, loss_rule)

    def total(self, loss_rule: str) -> AllToAll:
        """The mean over all nodes, each of which sends its vector to all others.

        Args:
            loss_rule: what a lost message counts as, one of ``average.LOSS_RULES``.
        """
        return AllToAll(self, loss_rule)

    def server(self, node: int | None = None) -> Server:
        """A server, of which all nodes are clients.

        Args:
            node: the node on which it is, by its number in the whole graph; None for one that is no node.
        """
        return Server(self, None if node is None else int(np.flatnonzero(self.topology.numbers == node)[0]))

    def _needs_all_here(self, verb: str) -> None:
        if self.ranks.size > 1:
            raise NotImplementedError(f"{verb} needs all nodes in one process")

    def into_here(self, receiver: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which links lead to nodes that live here, [k].

        Args:
            receiver: of each link, [k].
        """
        inside: NDArray[np.bool_] = (receiver >= self.here.start) & (receiver < self.here.stop)
        return inside

    def by_receiver(
        self, receiver: NDArray[np.int64], compute: Callable[[NDArray[np.bool_]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """A number for each of some messages, in all processes; each is computed where its receiver lives.

        Args:
            receiver: of each message, ascending, [k].
            compute: (which messages, [k]) -> their numbers.
        """
        own = torch.from_numpy(compute(self.into_here(receiver)))
        counts = np.bincount(self.ranks.owner(self.topology.n, receiver), minlength=self.ranks.size)
        found: NDArray[np.float64] = self.ranks.gathered(own, counts.tolist()).numpy()
        return found

    def alike(self, tensor: Tensor) -> Tensor:
        """Notes that what a rule remembers is the same in all processes; without that it is a row per node.

        Returns:
            The tensor.
        """
        self._kept.append((tensor, None))
        return tensor

    def of_links(self, tensor: Tensor, receiver: NDArray[np.int64]) -> Tensor:
        """Notes that what a verb remembers is a row for each link into the nodes that live here.

        Args:
            tensor: [links into here, ...].
            receiver: of each link, wherever it leads, [k].

        Returns:
            The tensor.
        """
        self._kept.append((tensor, receiver))
        return tensor

    def whole(self, tensor: Tensor) -> NDArray[np.generic]:
        """A copy of what is remembered of all nodes, in the process that writes files; rubbish in the others.

        Args:
            tensor: what is remembered here.
        """
        if self.ranks.size == 1 or (nodes := self._nodes_of(tensor)) is None:
            return tensor.cpu().numpy().copy()
        counts = np.bincount(self.ranks.owner(self.topology.n, nodes), minlength=self.ranks.size)
        found: NDArray[np.generic] = self.ranks.at_first(tensor, counts.tolist()).cpu().numpy()
        if len(found) == len(nodes):
            sorted_by_rank = np.argsort(self.ranks.owner(self.topology.n, nodes), kind="stable")
            found = found[np.argsort(sorted_by_rank)]
        return found

    def part(self, array: NDArray[np.generic], tensor: Tensor) -> NDArray[np.generic]:
        """The part that belongs to this process of what is remembered of all nodes.

        Args:
            array: as :meth:`whole` returned it.
            tensor: what it is to become part of.

        Raises:
            ValueError: it is not of all nodes or links.
        """
        if self.ranks.size == 1 or (nodes := self._nodes_of(tensor)) is None:
            return array
        if len(array) != len(nodes):
            raise ValueError(f"there are {len(array)} rows in place of {len(nodes)}")
        return array[self.into_here(nodes)]

    def _nodes_of(self, tensor: Tensor) -> NDArray[np.int64] | None:
        """The node that each row of what is remembered belongs to, over all processes; None if to none."""
        for kept, nodes in self._kept:
            if kept is tensor:
                return nodes
        return np.arange(self.topology.n)

    def count(self, sent: Traffic) -> None:
        """Adds bytes that were sent."""
        self._sent = sent if self._sent is None else self._sent + sent

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is sent within the context, over edges of the topology, travels at the same time."""
        before = self._exchanged(None)
        yield
        together = self._exchanged(before)
        if together is not None:
            if together.path.hops > 1:
                together = replace(together, path=path_over_edges(self.topology, together.edges))
            self.count(together)

    def _exchanged(self, other: Traffic | None) -> Traffic | None:
        """What was sent so far, which other traffic replaces."""
        found, self._sent = self._sent, other
        return found

    def take_traffic(self) -> Traffic:
        """The bytes that were sent since they were last taken."""
        sent = self._exchanged(None)
        return traffic.none(self.topology.n, self.topology.m) if sent is None else sent
