"""What it costs to send the layers below the cut, if nodes keep them and change them themselves."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dml.clock.config import ClockConfig
from dml.exchange.traffic import Traffic, none
from dml.traversal.costs import VisitCosts
from dml.traversal.messages import HEADER, Phases
from dml.traversal.request import BatchesRequest
from dml.traversal.routes import Route, sent
from dml.traversal.split_messages import handed_in, handed_out


@dataclass(frozen=True)
class LowerPart:
    """The lower part of a model.

    Args:
        size: bytes of a message that holds it.
        side_by_side: every node has its own, and the server averages them after each round. Otherwise there
            is one, which goes from each node to the next over a shortest path.
    """

    size: int
    side_by_side: bool

    def sent(
        self, request: BatchesRequest, route: Route, clock: ClockConfig, seed: int
    ) -> tuple[Traffic, float]:
        """The bytes and the simulated seconds of these messages, before, between and after some batches.

        Args:
            request: the batches.
            route: the place of the server.
            clock: the clock.
            seed: the experiment's seed.
        """
        if not self.side_by_side:
            return self._from_node_to_node(request, route, clock)
        phases: Phases = ()
        if request.begins:
            phases += handed_out(self.size)
        if request.ends:
            phases += handed_in(self.size)
        rows = request.plan.counts[None]
        seconds = VisitCosts(rows, phases, route).seconds(clock, seed)
        return sent(route, phases, rows).traffic, float(seconds[0])

    def _from_node_to_node(
        self, request: BatchesRequest, route: Route, clock: ClockConfig
    ) -> tuple[Traffic, float]:
        plan, topology = request.plan, route.topology
        holders = plan.rows.argmax(1)
        # Every pass ends at the same node, and so has the pass before.
        before = holders[request.first - 1 : request.first] if request.first else holders[-1:]
        if not request.first and not plan.number:
            before = holders[:1]
        way = np.append(before, holders[request.first : request.stop]).tolist()
        traffic, seconds = none(topology.n, topology.m), 0.0
        hop = clock.latency + (0.0 if clock.bandwidth is None else self.size / clock.bandwidth)
        for sender, receiver in pairwise(way):
            if sender == receiver:
                continue
            paths, message = route.paths(sender), np.zeros(topology.n, np.int64)
            message[receiver] = self.size
            edges, hops = paths.relayed(message, np.zeros_like(message)), int(paths.hops[receiver])
            of_node = np.zeros(topology.n, np.int64)
            np.add.at(of_node, topology.edges, edges)
            traffic, seconds = traffic + Traffic(of_node, edges, control=hops * HEADER), seconds + hops * hop
        return traffic, seconds
