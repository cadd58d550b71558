"""The bytes of visits on a graph, against hops that networkx counts."""

import networkx as nx
import numpy as np
import pytest

from dml.topology import make
from dml.topology.paths import best_placed
from dml.traversal.messages import HEADER, cut, grads, legacy3
from dml.traversal.routes import Route, sent
from dml.traversal.split_messages import handed_out, split

GRAPHS = ["cycle:n=7", "star:n=6", "barabasi_albert:n=12,m=2,seed=4"]
MODES = {
    "grads": grads(1000),
    "cut": cut(700, 30, 0.6, outputs=10, labels_at_node=True),
    "legacy3": legacy3(2000, (30, 20, 15), 10),
    "legacy3 as published": legacy3(2000, (30, 20, 15), 10, published=True),
}
OWN = {"split": split(30, 0.6), "handed out": handed_out(40)}


def rows_of(n, batches=9, size=12):
    return np.random.default_rng(n).multinomial(size, np.full(n, 1 / n), batches)


@pytest.mark.parametrize("text", GRAPHS)
@pytest.mark.parametrize("orchestrator", [0, 3, None])
@pytest.mark.parametrize("name", [*MODES, *OWN])
def test_relayed_visits_cost_hops_times_bytes(text, orchestrator, name):
    topology, phases = make(text), (MODES | OWN)[name]
    rows, lengths = rows_of(topology.n), nx.floyd_warshall_numpy(topology.graph(), weight=None).astype(int)
    found = sent(Route(topology, orchestrator), phases, rows, first=4)
    total = messages = visits = control = 0
    for number, batch in enumerate(rows, 4):
        hops = lengths[number % topology.n if orchestrator is None else orchestrator]
        for phase in phases:
            total += int(hops @ (phase.to_nodes(batch) + phase.from_nodes(batch)))
            messages += phase.messages * int(hops @ (batch > 0))
            visits += int(((batch > 0) & (hops > 0)).sum())
            control += int(hops @ (phase.index_row * batch))
    handed = 0
    if orchestrator is None:
        handed = sum(int(lengths[(b - 1) % topology.n, b % topology.n]) for b in range(4, 4 + len(rows)))
    assert found.traffic.edges.sum() == found.traffic.sent.sum() == total
    assert (found.visits, found.messages) == (visits, messages + handed)
    assert found.traffic.control == control + HEADER * found.messages


@pytest.mark.parametrize("text", GRAPHS)
@pytest.mark.parametrize("orchestrator", [0, 3, None])
@pytest.mark.parametrize("name", MODES)
def test_a_collecting_walk_sends_one_message_over_each_edge_of_its_tree(text, orchestrator, name):
    """Alike parts once per edge that leads to a visited node; the rest as often as it is relayed."""
    topology, phases = make(text), MODES[name]
    rows, route = rows_of(topology.n, size=4), Route(topology, orchestrator, collected=True)
    found = sent(route, phases, rows, first=4, state=1)
    expected, messages = np.zeros((topology.m, 2), np.int64), 0
    row = {tuple(edge): k for k, edge in enumerate(topology.edges.tolist())}
    for number, batch in enumerate(rows, 4):
        paths = route.paths(number % topology.n if orchestrator is None else orchestrator)
        behind = {}
        for node in np.flatnonzero(batch).tolist():
            for a, b in nx.utils.pairwise(paths.path(node)):
                behind[a, b] = behind.get((a, b), 0) + int(batch[node])
        for phase in phases:
            messages += 2 * len(behind)
            for (a, b), count in behind.items():
                down = phase.down + phase.down_batch * int(batch.sum()) + phase.down_row * count
                expected[row[min(a, b), max(a, b)], int(a > b)] += phase.up + phase.up_row * count
                expected[row[min(a, b), max(a, b)], int(a < b)] += down
    assert np.array_equal(found.traffic.edges, expected)
    assert found.messages - found.traffic.handed_over == messages
    relayed = sent(Route(topology, orchestrator), phases, rows, first=4)
    assert found.visits == relayed.visits
    assert expected.sum() <= relayed.traffic.edges.sum()


def test_the_orchestrators_own_rows_cost_nothing():
    found = sent(Route(make("cycle:n=5"), 2), grads(1000), np.array([[0, 0, 9, 0, 0]]))
    assert not found.traffic.edges.any()
    assert (found.visits, found.messages, found.traffic.control) == (0, 0, 0)


def test_on_a_star_the_hub_is_the_best_place_and_half_the_bytes_of_a_leaf():
    topology, rows = make("star:n=9"), np.full((4, 9), 2)
    hub = best_placed(topology, rows.sum(0))
    assert hub == topology.most_connected(1)[0]
    at_hub, at_leaf = (sent(Route(topology, node), grads(1000), rows).traffic for node in (hub, hub + 1))
    assert at_leaf.edges.sum() / at_hub.edges.sum() == (1 + 7 * 2) / 8


def test_a_rotating_orchestrator_hands_over_the_model_before_every_batch_but_the_first():
    """On a ring from node to node; the last one is a neighbour of the first one."""
    route, rows = Route(make("cycle:n=4")), np.ones((6, 4), np.int64)
    assert route.orchestrators(6).tolist() == [0, 1, 2, 3, 0, 1]
    assert route.hand_overs(6).tolist() == [0, 1, 1, 1, 1, 1]
    found = sent(route, grads(1000), rows, state=8000)
    assert found.traffic.handed_over == 5 * 8000
    first, rest = (sent(route, grads(1000), part, k, 8000) for part, k in ((rows[:2], 0), (rows[2:], 2)))
    both = first.traffic + rest.traffic
    assert (both.handed_over, both.control) == (found.traffic.handed_over, found.traffic.control)
    assert np.array_equal(both.edges, found.traffic.edges)


@pytest.mark.parametrize("orchestrator", [-1, 5])
def test_an_orchestrator_that_is_no_node_is_refused(orchestrator):
    with pytest.raises(IndexError, match="nodes are 0 to 4"):
        Route(make("cycle:n=5"), orchestrator)
