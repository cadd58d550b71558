"""The time of virtual batches against a plain simulation, event by event, and against times by hand."""

import heapq
import itertools

import numpy as np
import pytest
from scripts import ROOT

from dml.clock.compute import ComputeTimes
from dml.clock.config import ClockConfig
from dml.clock.slow_nodes import factors_of
from dml.clock.transfers import Transfers
from dml.topology import make
from dml.traversal.account import Account
from dml.traversal.costs import VisitCosts
from dml.traversal.messages import cut, grads, legacy3
from dml.traversal.routes import Route, sent
from dml.traversal.split_messages import handed_in, handed_out, split

GRAPHS = ["cycle:n=6", "star:n=6", "barabasi_albert:n=9,m=2,seed=4", "chain:n=4"]
MODES = {
    "grads": grads(1000),
    "cut": cut(700, 30, 0.6),
    "cut, labels at the node": cut(700, 30, 0.6, outputs=10, labels_at_node=True),
    "legacy3": legacy3(2000, (30, 20, 15), 10),
}
CLOCKS = [
    {},
    {"latency": 0.3, "compute": "exponential:2", "slow_nodes": ("1@3",)},
    {"latency": 0.3, "bandwidth": 5e3, "compute": "lognormal:1,0.5"},
    {"latency": 0.02, "bandwidth": 2e3, "compute": "exponential:2", "duplex": "half"},
    {"bandwidth": 1e4, "duplex": "half", "slow_nodes": ("0@2", "2@0.25")},
]


def rows_of(n, batches=7, size=12):
    rng = np.random.default_rng(n)
    return rng.multinomial(size, rng.dirichlet(np.full(n, 0.5)), batches)


class Simulation:
    """One phase of one virtual batch, a message at a time."""

    def __init__(self, route, root, phase, rows, clock):
        self.links = Transfers(len(rows), clock.latency, clock.bandwidth, clock.duplex == "half")
        self.route, self.root, self.phase, self.rows = route, root, phase, rows
        self.parent = route.paths(root).parent.tolist()
        self.events, self.last = [], 0.0

    def ready(self, at, about, then, sender, receiver, size):
        """A message can be sent; `then` is called when it has arrived."""
        heapq.heappush(self.events, (at, about, sender, receiver, size, then))

    def run(self, work):
        """When the last answer is there."""
        (self.collect if self.route.collected else self.relay)(work)
        while self.events:
            now, _, sender, receiver, size, then = heapq.heappop(self.events)
            self.last = self.links.arrival(sender, receiver, size, now)
            self.ends.append(self.last)
            then(self.last)
        return max(self.ends, default=0.0)

    def relay(self, work):
        self.ends = []
        down, up = self.phase.to_nodes(self.rows), self.phase.from_nodes(self.rows)
        for node in np.flatnonzero(self.rows).tolist():
            if node == self.root:
                continue
            way = self.route.paths(self.root).path(node)
            there = [(a, b, down[node]) for a, b in zip(way[:0:-1], way[-2::-1], strict=True)]
            back = [(a, b, up[node]) for a, b in itertools.pairwise(way)]
            hops = there * (not self.phase.unasked) + back * (not self.phase.unanswered)
            begins = work[node] if self.phase.unasked else 0.0
            self.go(begins, node, hops, len(there) * (not self.phase.unasked), work[node])

    def go(self, at, node, hops, turn, work):
        if not hops:
            self.ends.append(at)
            return
        sender, receiver, size = hops[0]
        wait = work if turn == 1 else 0.0
        self.ready(
            at, node, lambda now: self.go(now + wait, node, hops[1:], turn - 1, work), sender, receiver, size
        )

    def collect(self, work):
        self.ends = []
        n, phase, parent = len(self.rows), self.phase, self.parent
        below = {v: [u for u in range(n) if v in self.route.paths(self.root).path(u)] for v in range(n)}
        count = {v: int(self.rows[below[v]].sum()) for v in range(n)}
        children = {v: [u for u in range(n) if parent[u] == v and count[u]] for v in range(n)}
        waits = {v: len(children[v]) + 1 for v in range(n)}
        latest = dict.fromkeys(range(n), 0.0)
        batch = int(self.rows.sum())

        def answer(v, now):
            latest[v], waits[v] = max(latest[v], now), waits[v] - 1
            if waits[v] == 0 and v != self.root:
                size = phase.up + phase.up_row * count[v]
                self.ready(latest[v], v, lambda now: answer(parent[v], now), v, parent[v], size)

        def arrived(v, now):
            for u in children[v]:
                size = phase.down + phase.down_batch * batch + phase.down_row * count[u]
                self.ready(now, u, lambda now, u=u: arrived(u, now), v, u, size)
            if v != self.root:
                answer(v, now + work[v])

        arrived(self.root, 0.0)


def plain(costs, clock, seed):
    """The seconds of each batch, as the module's docstring says."""
    route, n = costs.route, costs.rows.shape[1]
    compute = ComputeTimes(clock.law, factors_of(n, clock.slow_nodes), seed)
    found = []
    for number, rows in enumerate(costs.rows, costs.first):
        root = number % n if route.orchestrator is None else route.orchestrator
        before = (number - 1) % n if route.orchestrator is None and number else root
        hop = clock.latency + (costs.state / clock.bandwidth if clock.bandwidth else 0)
        seconds = route.paths(root).hops[before] * hop
        for phase in costs.phases:
            share = rows > 0 if costs.own_batches else rows / rows.sum()
            work = [compute(i, number, 1) * phase.at_nodes * share[i] for i in range(n)]
            ends = Simulation(route, root, phase, rows, clock).run(work)
            steps = (rows > 0).sum() if costs.own_batches else 1
            seconds += max(ends, work[root]) + phase.at_orchestrator * steps * compute(root, number, 1)
        found.append(seconds)
    return found


@pytest.mark.parametrize("text", GRAPHS)
@pytest.mark.parametrize("orchestrator", [0, 2, None])
@pytest.mark.parametrize("collected", [False, True])
def test_the_time_is_that_of_a_plain_simulation(text, orchestrator, collected):
    topology = make(text)
    route = Route(topology, orchestrator, collected)
    rows = rows_of(topology.n)
    assert (rows == 0).any()
    for flags in CLOCKS:
        clock = ClockConfig(**flags)
        for name, phases in MODES.items():
            costs = VisitCosts(rows, phases, route, first=5, state=4000)
            expected = plain(costs, clock, 3)
            assert costs.seconds(clock, 3) == pytest.approx(expected, rel=1e-12), (flags, name)


@pytest.mark.parametrize("text", GRAPHS)
def test_the_time_of_batches_of_single_nodes_is_that_of_a_plain_simulation(text):
    """Nodes begin by themselves, and the gradients at the cut are not answered."""
    topology = make(text)
    one_way = {"out": handed_out(4000), "in": handed_in(4000)}
    whole = {"at the server": split(30, 0.6), "at the node": split(30, 0.6, outputs=10, labels_at_node=True)}
    for flags in CLOCKS:
        clock = ClockConfig(**flags)
        for name, phases in (one_way | whole).items():
            costs = VisitCosts(rows_of(topology.n), phases, Route(topology, 2), first=5, own_batches=True)
            assert costs.seconds(clock, 3) == pytest.approx(plain(costs, clock, 3), rel=1e-12), (flags, name)


def test_messages_are_forwarded_one_by_one_and_not_all_at_once():
    """On a chain, a node passes a message on while the next one is on its way to it."""
    route, phases = Route(make("chain:n=4"), 0), grads(250)
    clock = ClockConfig(latency=0.0, bandwidth=1000.0, compute="constant:8")
    rows = np.array([[2, 2, 2, 2]])
    # Models leave at 0, 1 and 2, and arrive at nodes 1, 2, 3 at 1, 3 and 5. They compute for 2 seconds.
    # Gradients of 1.008 s arrive at 1 + 2 + 1.008, at 3 + 2 + 2.016 and at 5 + 2 + 3.024.
    assert VisitCosts(rows, phases, route).seconds(clock, 0) == pytest.approx([5 + 2 + 3.024])
    # The tree carries one model over each edge, and the gradients wait for those from behind.
    walk = Route(make("chain:n=4"), 0, collected=True)
    assert VisitCosts(rows, phases, walk).seconds(clock, 0) == pytest.approx([3 + 2 + 3.024])


def test_a_share_of_rows_is_a_share_of_a_step():
    """Without travel, the node with the most rows decides; alone, the orchestrator takes one step."""
    route = Route(make("cycle:n=3"), 0)
    rows = np.array([[1, 2, 5], [8, 0, 0], [0, 1, 0]])
    clock = ClockConfig(compute="constant:16", slow_nodes=("1@4",))
    assert VisitCosts(rows, grads(9), route).seconds(clock, 0).tolist() == [16.0, 16.0, 64.0]


@pytest.mark.parametrize("orchestrator", [1, None])
def test_the_time_of_a_batch_does_not_depend_on_those_computed_with_it(orchestrator):
    route, rows = Route(make("cycle:n=6"), orchestrator), rows_of(6)
    clock = ClockConfig(**CLOCKS[3])
    whole = VisitCosts(rows, MODES["cut"], route, state=100).seconds(clock, 0)
    parts = [
        VisitCosts(rows[a:b], MODES["cut"], route, a, 100).seconds(clock, 0)
        for a, b in ((0, 3), (3, 3), (3, 7))
    ]
    assert whole.tolist() == np.concatenate(parts).tolist()


@pytest.mark.parametrize("orchestrator", [1, None])
@pytest.mark.parametrize("name", MODES)
def test_another_clock_needs_what_a_file_keeps_and_the_graph(name, orchestrator):
    topology, clock = make("cycle:n=6"), ClockConfig(**CLOCKS[3])
    account = Account(Route(topology, orchestrator, collected=True), MODES[name], 100, ClockConfig(), 7)
    again = Account.of_text(account.text, topology, clock, 7)
    assert (again.phases, again.state, again.clock, again.seed) == (account.phases, 100, clock, 7)
    assert (again.route.orchestrator, again.route.collected) == (orchestrator, True)


def test_the_example_of_the_documentation():
    """The table in docs/traversal.md: messages, megabytes and milliseconds."""
    page = (ROOT / "docs" / "traversal.md").read_text(encoding="utf-8").partition("### Example")[2]
    modes = {
        "`grads`": grads(242_762),
        "`cut=1`": cut(200_960, 256, 0.83),
        "`legacy3`": legacy3(242_762, (784, 256, 128), 10),
        "`legacy3` as published": legacy3(242_762, (784, 256, 128), 10, published=True),
    }
    rows, clock = (
        np.array([[13, 13, 13, 13, 12]]),
        ClockConfig(latency=0.01, bandwidth=1e8, compute="constant:0.01"),
    )
    for name, phases in modes.items():
        cells = [name]
        for collected in (False, True):
            route = Route(make("cycle:n=5"), 0, collected)
            found, (seconds,) = sent(route, phases, rows), VisitCosts(rows, phases, route).seconds(clock, 0)
            cells += [str(found.messages), f"{found.traffic.edges.sum() / 1e6:.2f}", f"{seconds * 1e3:.1f}"]
        assert f"\n| {' | '.join(cells)} |\n" in page
