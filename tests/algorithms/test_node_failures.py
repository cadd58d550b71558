"""Nodes that fail: the remaining ones against the same algorithm on the rest, and against plain loops."""

import networkx as nx
import numpy as np
import pytest
import torch
from rules import BUILT, OFF_GRAPH, THROUGH_SERVER, after, before

from dml import randomness
from dml.algorithms.build import build
from dml.algorithms.node_failures import FailureSchedule, RemainingNodes
from dml.errors import InputError
from dml.exchange import links
from dml.topology import Topology, make, trees

GRAPH = make("barabasi_albert:n=7,m=3,seed=1")
FAILING = ("3@3", "1@3", "2@6")
ROUNDS, WIDTH = 9, 5


def start():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((GRAPH.n, WIDTH)))


def options(name, drop):
    weight = {"edge_weight": 0.05} if name == "d2" else {}
    return {"drop_probability": drop, "seed": 3, **weight}


def failing(name, drop, X):
    def of(topology, models):
        return build(name, topology, models, **options(name, drop))

    return RemainingNodes(of, FailureSchedule(GRAPH.n, FAILING), GRAPH, X)


def advance(rule, X, t, rows):
    before(rule, X, t)
    noise = np.random.default_rng([7, t]).standard_normal((GRAPH.n, WIDTH))
    X[rows] = 0.9 * X[rows] + torch.from_numpy(noise)[rows]
    return after(rule, X, t, 0.1)


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("name", BUILT)
def test_what_is_left_is_the_algorithm_started_anew_on_the_rest(name, drop):
    """By hand: a new rule on the induced graph at each failure, on a matrix of the living alone."""
    X, x = start(), start()
    rule, lives, own = failing(name, drop, X), np.arange(GRAPH.n), None
    for t in range(ROUNDS):
        if t in (0, 3, 6):
            lives = np.setdiff1d(lives, {0: [], 3: [1, 3], 6: [2]}[t])
            part = GRAPH.subgraph(lives)[0]
            Y = x[lives].clone()
            own = build(name, part, Y, **options(name, drop))
        advance(rule, X, t, lives)
        before(own, Y, t)
        noise = np.random.default_rng([7, t]).standard_normal((GRAPH.n, WIDTH))
        Y.mul_(0.9).add_(torch.from_numpy(noise)[lives])
        after(own, Y, t, 0.1)
        x[lives] = Y
        np.testing.assert_array_equal(X.numpy(), x.numpy())


@pytest.mark.parametrize("name", BUILT)
def test_nothing_is_sent_by_or_to_a_node_that_has_failed(name):
    X = start()
    rule, gone = failing(name, 0.0, X), {2: [], 5: [1, 3], 8: [1, 2, 3]}
    for t in range(ROUNDS):
        lives = np.setdiff1d(np.arange(GRAPH.n), gone[min(g for g in gone if g >= t)])
        earlier = X.clone()
        traffic = advance(rule, X, t, lives)
        dead = np.setdiff1d(np.arange(GRAPH.n), lives)
        assert not traffic.sent[dead].any()
        assert traffic.sent[lives].all() == (name not in THROUGH_SERVER)
        assert traffic.server.any() == (name in THROUGH_SERVER)
        assert not traffic.edges[np.isin(GRAPH.edges, dead).any(1)].any()
        if name not in OFF_GRAPH:
            i, j = GRAPH.edges.T
            sent = np.bincount(i, traffic.edges[:, 0], GRAPH.n) + np.bincount(j, traffic.edges[:, 1], GRAPH.n)
            np.testing.assert_array_equal(traffic.sent, sent)
        assert torch.equal(X[dead], earlier[dead])


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("name", BUILT)
def test_a_state_from_either_side_of_a_failure_goes_on(name, drop):
    for stop in (2, 3, 4, 7):
        X = start()
        rule = failing(name, drop, X)
        for t in range(ROUNDS):
            if t == stop:
                state, there = rule.state(), X.clone()
            advance(rule, X, t, rule._schedule.alive(t))
        again = start()
        other = failing(name, drop, again)
        again.copy_(there)
        other.load_state(state)
        for t in range(stop, ROUNDS):
            advance(other, again, t, other._schedule.alive(t))
        assert torch.equal(X, again)


def test_the_rest_of_relaysgd_ends_at_the_optimum_of_the_rest():
    """f_i = 1/2 |A_i (x - b_i)|^2 in float64, against the normal equations of those that are left."""
    rng = np.random.default_rng(5)
    topology = make("cycle:n=8")
    H = np.stack([np.diag(rng.uniform(0.5, 1, 3)) for _ in range(8)])
    Q = np.stack([np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(8)])
    H, b = Q @ H @ Q.transpose(0, 2, 1), 10 * rng.standard_normal((8, 3))
    X = torch.zeros(8, 3, dtype=torch.float64)
    rule = RemainingNodes(
        lambda graph, Y: build("relaysgd", graph, Y), FailureSchedule(8, ["3@40"]), topology, X
    )
    for t in range(700):
        before(rule, X, t)
        x = X.numpy()
        lives = np.arange(8) != 3 if t >= 40 else np.ones(8, bool)
        X[lives] -= 0.2 * torch.from_numpy(np.einsum("nij,nj->ni", H, x - b))[lives]
        after(rule, X, t, 0.2)
        if t == 39:
            fixed = X[3].clone()
    left = np.arange(8) != 3
    optimum = np.linalg.solve(H[left].sum(0), np.einsum("nij,nj->i", H[left], b[left]))
    assert np.abs(X.numpy()[left] - optimum).max() <= 1e-9
    assert torch.equal(X[3], fixed)
    of_all = np.linalg.solve(H.sum(0), np.einsum("nij,nj->i", H, b))
    assert np.abs(of_all - optimum).max() > 0.1


def test_missing_values_count_as_the_models_at_the_failure():
    """Without steps nothing moves; x(0) of the start would draw all models back."""
    X = torch.full((6, 2), 3.0, dtype=torch.float64)
    rule = RemainingNodes(
        lambda graph, Y: build("relaysgd", graph, Y), FailureSchedule(6, ["0@2"]), make("chain:n=6"), X
    )
    for t in range(2):
        before(rule, X, t)
        after(rule, X, t, 0.1)
    X.fill_(7)
    for t in range(2, 5):
        before(rule, X, t)
        after(rule, X, t, 0.1)
    np.testing.assert_allclose(X.numpy(), np.full((6, 2), 7.0), rtol=1e-14)


def test_messages_between_those_that_are_left_are_lost_as_before():
    nodes = np.array([1, 3, 4, 6])
    part, rows = GRAPH.subgraph(nodes)
    whole, left = links.over_edges(GRAPH, 0.5, 3), links.over_edges(part, 0.5, 3)
    for t in range(5):
        np.testing.assert_array_equal(
            left.arrived(t), whole.arrived(t)[np.concatenate([rows, rows + GRAPH.m])]
        )
    draws = randomness.uniforms(3, "link", 0, nodes[left.receiver], nodes[left.sender])
    np.testing.assert_array_equal(left.arrived(0), draws < 0.5)


def test_a_part_of_a_part_is_called_as_in_the_whole():
    weighted = GRAPH.with_weights(np.linspace(0.1, 1, GRAPH.m), "weighted")
    part = weighted.subgraph(np.array([1, 3, 4, 5, 6]))[0].subgraph(np.array([0, 2, 4]))[0]
    np.testing.assert_array_equal(part.numbers, [1, 4, 6])
    expected = nx.subgraph(weighted.graph(), [1, 4, 6])
    found = {tuple(part.numbers[e].tolist()): w for e, w in zip(part.edges, part.weights, strict=True)}
    assert found == {tuple(sorted(e)): expected.edges[e]["weight"] for e in expected.edges}


def test_trees_of_a_part_are_told_by_the_numbers_of_the_whole():
    part = make("complete:n=6").subgraph(np.array([1, 3, 4, 5]))[0]
    (tree,) = trees.choose(part, "bfs", root=4)
    assert tree.name == "the breadth-first tree from node 4"
    assert tree.parent.tolist() == [2, 2, -1, 2]
    with pytest.raises(InputError, match=r"tree_root 2: is not one of the remaining nodes"):
        trees.choose(part, "bfs", root=2)
    parts = make("chain:n=6").subgraph(np.array([1, 2, 4, 5]))[0]
    with pytest.raises(InputError, match=r"only 2 of the 4 nodes .* connected to node 1;"):
        trees.choose(parts)
    ring = Topology(6, [(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)], np.ones(5), "ring").subgraph(
        np.arange(1, 6)
    )[0]
    assert [tree.name for tree in trees.choose(ring, "two_chains")] == [
        "the ring without the edge 1-2",
        "the ring without the edge 4-5",
    ]


@pytest.mark.parametrize("name", [name for name in BUILT if not name.startswith("relay")])
def test_what_does_not_relay_goes_on_in_parts_and_alone(name):
    """The hub of a star fails, so no edge is left."""
    X = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 4)))
    given = {"edge_weight": 0.1} if name == "d2" else {}
    rule = RemainingNodes(
        lambda graph, Y: build(name, graph, Y, **given), FailureSchedule(5, ["0@1"]), make("star:n=5"), X
    )
    for t in range(3):
        earlier = X.clone()
        before(rule, X, t)
        traffic = after(rule, X, t, 0.1)
        if t and name not in OFF_GRAPH:
            torch.testing.assert_close(X, earlier, rtol=1e-12, atol=1e-12)
            assert not traffic.sent.any()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["4@0"], "failing_nodes 4@0: the graph has the nodes 0 to 3, and no 4"),
        (["0@1", "1@2", "2@3"], "failing_nodes 0@1 1@2 2@3: of 4 nodes at least two must be left"),
    ],
)
def test_nodes_that_cannot_fail(texts, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        FailureSchedule(4, texts)
