"""The simulated time of virtual batches, from what their visits cost on any clock.

The phases of a virtual batch follow one another. In each of them

    the orchestrator sends its messages at once, in the order of the nodes
    a node begins when its message has arrived, and answers when its work is done:
        share of a step x rows of the node / rows of the batch x factor x draw
    nodes on the way pass messages on, each when it has arrived
    the phase ends with the last answer, and with the orchestrator's own part as a node
    then the orchestrator does its share of the step, in its own factor x draw

Each node draws one compute time per virtual batch. A link carries one message at a time, as in
:mod:`dml.clock.transfers`; headers and indices take no time. A rotating orchestrator hands over the model
before the first phase. Nothing here depends on the models, so another clock needs no training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.clock.compute import ComputeTimes
from dml.clock.config import ClockConfig
from dml.clock.slow_nodes import factors_of
from dml.traversal import full_duplex, half_duplex
from dml.traversal.crossings import Crossings
from dml.traversal.messages import Phase, Phases
from dml.traversal.routes import Array, Route

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VisitCosts:
    """What b virtual batches in a row cost on any clock.

    Args:
        rows: of each node in each of them, [b, n].
        phases: of each of them.
        route: the way of the visits.
        first: the number of the first batch, counted over the whole run.
        state: bytes that a rotating orchestrator hands over.
        own_batches: the rows of each node are a batch of its own, with a step of its own; the orchestrator
            takes these batches one after another. Otherwise all rows are one batch.
    """

    rows: Array
    phases: Phases
    route: Route
    first: int = 0
    state: int = 0
    own_batches: bool = False

    def seconds(self, clock: ClockConfig, seed: int) -> NDArray[np.float64]:
        """The simulated seconds of each virtual batch, [b].

        Args:
            clock: the clock.
            seed: the experiment's seed.
        """
        b, n = self.rows.shape
        if not b:
            return np.zeros(0)
        compute = ComputeTimes(clock.law, factors_of(n, clock.slow_nodes), seed)
        numbers = np.arange(self.first, self.first + b)
        step = compute.many(np.arange(n), numbers[:, None], np.ones((b, n), np.int64))
        at, steps = self.route.orchestrators(b, self.first), 1
        if self.own_batches:
            part, steps = step * (self.rows > 0), (self.rows > 0).sum(1)
        else:
            part = step * self.rows / np.maximum(self.rows.sum(1, keepdims=True), 1)
        hop = clock.latency + (0.0 if clock.bandwidth is None else self.state / clock.bandwidth)
        seconds: Seconds = self.route.hand_overs(b, self.first) * np.float64(hop)
        for phase in self.phases:
            work = phase.at_nodes * part
            answers = np.maximum(self._last_answers(clock, phase, work, at), work[np.arange(b), at])
            seconds = seconds + answers + phase.at_orchestrator * steps * step[np.arange(b), at]
        return seconds

    def _last_answers(self, clock: ClockConfig, phase: Phase, work: Seconds, at: Array) -> Seconds:
        """When the last answer of a phase arrives, counted from its start, [b].

        Args:
            clock: the clock.
            phase: the phase.
            work: of each node, [b, n].
            at: the orchestrators, [b].
        """
        roots, group = np.unique(at, return_inverse=True)
        paths = [self.route.paths(root) for root in roots.tolist()]
        owns = [np.flatnonzero(group == g) for g in range(len(roots))]
        used = np.zeros(work.shape, bool)
        for own, some in zip(owns, paths, strict=True):
            used[own] = self.route.used(some.root, self.rows[own])
        if clock.bandwidth is None:
            travel = phase.messages * clock.latency * np.array([some.hops for some in paths])[group]
            last: Seconds = (used * (travel + work)).max(1)
            return last
        down, up = np.zeros(work.shape), np.zeros(work.shape)
        for own, some in zip(owns, paths, strict=True):
            down[own], up[own] = self.route.carried(some.root, phase, self.rows[own])
        across = down / clock.bandwidth, up / clock.bandwidth
        crossings = Crossings(used, *across, work, clock.latency, phase.unasked, phase.unanswered)
        if clock.duplex == "half":
            arrive = half_duplex.collected if self.route.collected else half_duplex.relayed
            return arrive(paths, group, crossings)
        answers = np.zeros(len(at))
        on_links = full_duplex.collected if self.route.collected else full_duplex.relayed
        for own, some in zip(owns, paths, strict=True):
            answers[own] = on_links(some, crossings.of(own))
        return answers
