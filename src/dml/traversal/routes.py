"""The ways of Traversal Learning's visits over the edges of a graph, and the bytes on each of them.

Two ways lead from the orchestrator to the nodes and back, both over shortest paths:

    relayed      every message goes by itself, from node to node: hops x bytes in all.
    collected    a walk along the tree of these paths. Each edge carries one message in each direction of a
                 phase. What is the same for all nodes, such as parameters, goes over it once, and what can be
                 added up, such as gradients, is added on the way; everything else is passed on as it is.

Collecting adds gradients from the leaves to the root, the orchestrator, and not in the order of the nodes.
The sums differ by rounding from those of relayed messages.

What the orchestrator tells itself costs nothing. If it rotates, virtual batch b belongs to node b mod n, and
the model and the state of the optimiser are handed over between two batches, over a shortest path.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dml.exchange.traffic import Traffic
from dml.topology import Topology
from dml.topology.paths import Paths, shortest_paths
from dml.traversal.messages import HEADER, Phase, Phases

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Sent:
    """What the visits of some virtual batches send.

    Args:
        traffic: the bytes over each edge, and those of nodes, headers and hand-overs.
        visits: visited nodes other than the orchestrator, over all phases and virtual batches.
        messages: over edges; a message over several hops counts once for each of them.
    """

    traffic: Traffic
    visits: int
    messages: int


@dataclass(frozen=True, eq=False)
class Route:
    """The place of the orchestrator, and the way from there to the nodes.

    Args:
        topology: a connected graph.
        orchestrator: its node; None if it rotates. :func:`dml.topology.paths.best_placed` finds the best one.
        collected: whether the visits are collected along a tree, and not relayed one by one.

    Raises:
        InputError: the graph is not connected.
        IndexError: the orchestrator is no node.
    """

    topology: Topology
    orchestrator: int | None = None
    collected: bool = False
    _paths: dict[int, Paths] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.paths(self.orchestrator or 0)

    def paths(self, orchestrator: int) -> Paths:
        """The shortest paths between an orchestrator and the nodes."""
        if orchestrator not in self._paths:
            self._paths[orchestrator] = shortest_paths(self.topology, orchestrator)
        return self._paths[orchestrator]

    def orchestrators(self, batches: int, first: int = 0) -> Array:
        """The orchestrator of each of some virtual batches, [batches].

        Args:
            batches: how many.
            first: the number of the first one, counted over the whole run.
        """
        if self.orchestrator is None:
            return np.arange(first, first + batches) % self.topology.n
        return np.full(batches, self.orchestrator)

    def hand_overs(self, batches: int, first: int = 0) -> Array:
        """The hops of the hand-over before each virtual batch, [batches]; 0 before the very first one."""
        if self.orchestrator is not None:
            return np.zeros(batches, np.int64)
        now, before = self.orchestrators(batches, first), self.orchestrators(batches, first - 1)
        hops = np.array([self.paths(b).hops[a] for a, b in zip(before.tolist(), now.tolist(), strict=True)])
        return np.where(np.arange(first, first + batches) > 0, hops, 0)

    def used(self, orchestrator: int, rows: Array) -> NDArray[np.bool_]:
        """Which nodes a message is addressed to: the visited ones; of a walk, all that it comes through.

        Args:
            orchestrator: its node, which needs no message.
            rows: of each node in each virtual batch, [b, n].

        Returns:
            [b, n].
        """
        used = rows > 0
        if self.collected:
            used = self.paths(orchestrator).below(used.astype(np.int64)) > 0
        used[:, orchestrator] = False
        return used

    def carried(self, orchestrator: int, phase: Phase, rows: Array) -> tuple[Array, Array]:
        """The bytes of the messages to each node and from it, [b, n] each.

        If visits are relayed, they are exchanged with the orchestrator, and otherwise with the node before it
        on the tree. The arguments are those of :meth:`used`.
        """
        if not self.collected:
            return phase.to_nodes(rows), phase.from_nodes(rows)
        used, below = self.used(orchestrator, rows), self.paths(orchestrator).below(rows)
        down = used * phase.to_all(rows)[:, None] + phase.down_row * below
        return down, used * phase.up + phase.up_row * below


def sent(route: Route, phases: Phases, rows: Array, first: int = 0, state: int = 0) -> Sent:
    """Counts what the visits of some virtual batches send.

    Args:
        route: the way of the visits.
        phases: of one virtual batch.
        rows: of each node in each virtual batch, [b, n].
        first: the number of the first virtual batch, counted over the whole run.
        state: bytes of the model and the optimiser's state, which a rotating orchestrator hands over.
    """
    topology, at = route.topology, route.orchestrators(len(rows), first)
    edges, control, visits, messages = np.zeros((topology.m, 2), np.int64), 0, 0, 0
    for orchestrator in np.unique(at).tolist():
        own, paths = rows[at == orchestrator], route.paths(orchestrator)
        used = route.used(orchestrator, own).sum(0)
        over = int(used.sum() if route.collected else used @ paths.hops)
        visits += len(phases) * int((own > 0).sum() - (own[:, orchestrator] > 0).sum())
        for phase in phases:
            messages += phase.messages * over
            control += phase.messages * over * HEADER
            down, up = (part.sum(0) for part in route.carried(orchestrator, phase, own))
            edges += (paths.per_edge if route.collected else paths.relayed)(down, up)
            control += phase.index_row * int(own.sum(0) @ paths.hops)
    of_node = np.zeros(topology.n, np.int64)
    np.add.at(of_node, topology.edges, edges)
    hand_overs = int(route.hand_overs(len(rows), first).sum())
    traffic = Traffic(of_node, edges, control=control + hand_overs * HEADER, handed_over=hand_overs * state)
    return Sent(traffic, visits, messages + hand_overs)
