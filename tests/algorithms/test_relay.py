"""RelaySum and its algorithms against sums over trees, and against plain loops over nodes and edges."""

import networkx as nx
import numpy as np
import pytest
import torch
from rules import after, before

from dml.algorithms import reference
from dml.algorithms.build import build
from dml.errors import InputError
from dml.exchange import links
from dml.exchange.in_memory import InMemory
from dml.exchange.relay_sum import RelaySum
from dml.exchange.relays import Relays
from dml.topology import Topology, make, trees

RNG = np.random.default_rng


def tree_of(graph: nx.Graph) -> Topology:
    return Topology.from_networkx(graph, "tree")


def matrix(n, width, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal((n, width)))


def whole(topology, S, remember="hold", overlap=False, drop=0.0):
    channel = InMemory(topology, S, drop=drop).send(np.arange(topology.m))
    return RelaySum(channel, remember, overlap, S)


def totals(relay, S, t):
    """One round: S holds s on entry, the totals on exit; n_i is returned."""
    relay.begin(t)
    for part in relay.slices():
        relay.space(part).copy_(S[:, part])
        S[:, part] = relay.total(part)
    return relay.counts


@pytest.mark.parametrize(
    "tree", [nx.star_graph(15), *(nx.random_labeled_tree(n, seed=n) for n in (2, 3, 7, 40, 64))]
)
def test_a_constant_reaches_everybody_exactly_after_as_many_rounds_as_the_diameter(tree):
    topology, n = tree_of(tree), len(tree)
    S = matrix(n, 5, n)
    relay, D = whole(topology, S), nx.diameter(topology.graph())
    for t in range(D):
        total = S.clone()
        counts = totals(relay, total, t)
        assert (counts < n).any() == (t < D - 1)
    assert (total / n - S.mean(0)).abs().max() <= 1e-12


@pytest.mark.parametrize(("text", "D"), [("chain:n=16", 15), ("star:n=16", 2)])
def test_published_diameters(text, D):
    assert trees.choose(make(text))[0].diameter() == D


def test_the_published_binary_tree():
    pairs, _ = trees.double_binary_trees(16)
    tree = trees.choose(Topology(16, pairs, np.ones(15), "tree"))[0]
    assert tree.diameter() == 6
    assert trees.kappa([tree]) == pytest.approx(3.3203, abs=1e-4)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_pulse_comes_as_late_as_it_is_far(overlap):
    """Every node emits a 1 in its own column, in round 0 alone."""
    topology = tree_of(nx.random_labeled_tree(12, seed=3))
    distance = nx.floyd_warshall_numpy(topology.graph())
    delay = distance if overlap else np.maximum(distance - 1, 0)
    pulse = torch.eye(12, dtype=torch.float64)
    relay = whole(topology, pulse, overlap=overlap)
    for t in range(13):
        S = pulse.clone() if t == 0 else torch.zeros_like(pulse)
        counts = totals(relay, S, t)
        np.testing.assert_array_equal(S.numpy(), delay == t)
        np.testing.assert_array_equal(counts, (delay <= t).sum(1))


@pytest.mark.parametrize("width", [1, 2, 7, 32])
@pytest.mark.parametrize("strided", [False, True])
def test_several_trees_share_the_columns(width, strided):
    topology = make("cycle:n=6")
    chosen = trees.choose(topology, "two_chains")
    assert len({tuple(tree.edges) for tree in chosen}) == 2
    S = matrix(6, width)
    slices = "strided" if strided else "contiguous"
    relays = Relays(InMemory(topology, S), chosen, "hold", False, slices, counters=0)
    for t in range(6):
        total = S.clone()
        for piece in relays.round(t):
            piece.space.copy_(S[:, piece.columns])
            total[:, piece.columns] = piece.mean(torch.zeros_like(S)[:, piece.columns])
    assert (total - S.mean(0)).abs().max() <= 1e-12


def test_two_trees_send_half_a_model_over_each_edge():
    topology = make("cycle:n=6")
    X = torch.zeros(6, 9)
    traffic = after(build("relaysgd", topology, X, tree="two_chains"), X, 0, 1.0)
    halves = 4 * (5 + 1), 4 * (4 + 1)
    assert set(traffic.edges.ravel()) == {*halves, sum(halves)}
    assert traffic.sent.sum() == traffic.edges.sum() == 10 * sum(halves)


@pytest.mark.parametrize(
    ("text", "kappa"),
    [("chain:n=16", 5.375), ("chain:n=32", 10.6875), ("star:n=32", 1.9082)],
)
def test_kappa_is_what_an_impulse_and_a_drift_show(text, kappa):
    topology = make(text)
    assert trees.kappa(trees.choose(topology)) == pytest.approx(kappa, abs=1e-4)
    X = torch.zeros(topology.n, 1, dtype=torch.float64)
    rule = build("relaysgd", topology, X)
    for t in range(600):
        X += t == 0
        after(rule, X, t, 1.0)
    assert 1 / X.mean().item() == pytest.approx(rule.lr_factor, abs=1e-6)
    X.zero_()
    rule = build("relaysgd", topology, X)
    for t in range(600):
        earlier = X.mean().item()
        X += 1
        after(rule, X, t, 1.0)
    assert 1 / (X.mean().item() - earlier) == pytest.approx(rule.lr_factor, abs=1e-6)


@pytest.mark.parametrize(("name", "options"), [("relaysgd", {"overlap": True}), ("relay_mix", {})])
def test_the_factor_of_other_relays_is_what_a_drift_shows(name, options):
    topology = make("chain:n=8")
    X = torch.zeros(8, 1, dtype=torch.float64)
    rule = build(name, topology, X, **options)
    for t in range(600):
        earlier = X.mean().item()
        before(rule, X, t)
        X += 1
        after(rule, X, t, 1.0)
    assert 1 / (X.mean().item() - earlier) == pytest.approx(rule.lr_factor, abs=1e-6)


def test_two_nodes_are_all_reduce():
    topology = make("chain:n=2")
    X = matrix(1, 4).expand(2, 4).clone()
    Y = X.clone()
    relay, mean = build("relaysgd", topology, X), build("allreduce", topology, Y)
    for t in range(20):
        step = matrix(2, 4, t + 1)
        for Z, rule in ((X, relay), (Y, mean)):
            Z.sub_(0.1 * (Z + step))
            after(rule, Z, t, 0.1)
        assert (X - Y).abs().max() <= 1e-14


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("rule", ["hold_last", "own", "half_step", "x0", "counts"])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_zero_gradients_keep_equal_models(c, rule, drop):
    topology = make("chain:n=16")
    X = torch.ones(16, 3, dtype=torch.float64)
    mix = build("relay_mix", topology, X, consensus_strength=c, loss_rule=rule, drop_probability=drop)
    for t in range(60):
        before(mix, X, t)
        after(mix, X, t, 0.1)
        assert (X - 1).abs().max() <= 1e-12


def near_of(topology):
    """The neighbours of each node."""
    return [sorted(topology.graph()[i]) for i in range(topology.n)]


def outcome(topology, drop):
    """Which messages arrive, as the library draws it: (sender, receiver) -> bool."""
    over = links.over_edges(topology, drop, 0)

    def arrives(t):
        table = dict(zip(zip(over.sender, over.receiver, strict=True), over.arrived(t), strict=True))
        return lambda sender, receiver: bool(table[sender, receiver])

    return arrives


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("drop", [0.0, 0.2])
@pytest.mark.parametrize("rule", ["hold_last", "own", "half_step", "x0", "counts"])
@pytest.mark.parametrize("c", [1.0, 0.4])
def test_relays_of_models_are_the_plain_loop(rule, drop, overlap, c):
    n, width = 9, 3
    topology = tree_of(nx.random_labeled_tree(n, seed=1))
    options = {"loss_rule": rule, "drop_probability": drop, "overlap": overlap}
    options |= {} if c == 1 else {"consensus_strength": c}
    x = np.ones((n, width))
    X = torch.from_numpy(x.copy())
    relay = build("relaysgd" if c == 1 else "relay_mix", topology, X, **options)
    near, arrives = near_of(topology), outcome(topology, drop)
    plain = (
        reference.RelaySGD(x, near, rule, overlap=overlap)
        if c == 1
        else reference.RelayMix(x, near, rule, c, overlap)
    )
    for t in range(15):
        step = RNG(t).standard_normal((n, width))
        before(relay, X, t)
        X.mul_(0.9).add_(torch.from_numpy(step))
        after(relay, X, t, 0.1)
        x = plain.round(x, 0.9 * x + step, 0.1, arrives(t))
        np.testing.assert_allclose(X.numpy(), x, atol=1e-12)


@pytest.mark.parametrize(("rule", "drop"), [("hold_last", 0.0), ("hold_last", 0.3), ("lost", 0.3)])
def test_relays_of_updates_are_the_plain_loop(rule, drop):
    """hold_last against messages that carry running sums: x = x(0) + total / n."""
    n, width = 9, 3
    topology = tree_of(nx.random_labeled_tree(n, seed=2))
    x = np.ones((n, width))
    X = torch.from_numpy(x.copy())
    relay = build("relaysgd_grad", topology, X, loss_rule=rule, drop_probability=drop)
    plain, arrives = reference.RelaySGDGrad(x, near_of(topology), rule), outcome(topology, drop)
    for t in range(25):
        step = RNG(t).standard_normal((n, width))
        before(relay, X, t)
        X.mul_(0.9).add_(torch.from_numpy(step))
        after(relay, X, t, 0.1)
        x = plain.round(x, 0.9 * x + step, 0.1, arrives(t))
        np.testing.assert_allclose(X.numpy(), x, atol=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "rule"), [("relaysgd", "hold_last"), ("relay_mix", "own"), ("relaysgd_grad", "hold_last")]
)
def test_how_many_values_a_total_held_and_how_old_its_messages_were(name, rule, drop, overlap):
    """Against the round in which each edge's message was sent."""
    n = 9
    topology = tree_of(nx.random_labeled_tree(n, seed=4))
    X, arrives, near = matrix(n, 2), outcome(topology, drop), near_of(topology)
    plain = reference.RelaySum(near, rule == "hold_last", overlap)
    relay = build(name, topology, X, loss_rule=rule, drop_probability=drop, overlap=overlap)
    assert all(np.isnan(row).all() for row in relay.measures().values())
    sent = {}
    for t in range(15):
        before(relay, X, t)
        after(relay, X, t, 0.1)
        _, counts = plain(np.zeros((n, 1)), arrives(t))
        earlier = dict(sent)
        for edge in plain.m:
            if arrives(t)(*edge):
                sent[edge] = t
            elif rule != "hold_last":
                sent.pop(edge, None)
        used = earlier if overlap else sent
        age = [max([t - used[j, i] for j in near[i] if (j, i) in used], default=0) for i in range(n)]
        found = relay.measures()
        np.testing.assert_array_equal(found["relay_values"], counts[:, 0])
        np.testing.assert_array_equal(found["relay_age"], age)
        assert {row.dtype for row in found.values()} == {np.dtype("float32")}


def test_of_several_trees_the_least_values_and_the_greatest_age_are_told():
    topology = make("cycle:n=6")
    X = torch.zeros(6, 4)
    relay = build("relaysgd", topology, X, tree="two_chains", overlap=True)
    alone = [whole(Topology(6, topology.edges[tree.edges], np.ones(5), "tree"), X[:, :2], overlap=True)
             for tree in trees.choose(topology, "two_chains")]  # fmt: skip
    for t in range(7):
        after(relay, X, t, 0.1)
        counts = [totals(one, X[:, :2].clone(), t) for one in alone]
        np.testing.assert_array_equal(relay.measures()["relay_values"], np.min(counts, 0))
        np.testing.assert_array_equal(relay.measures()["relay_age"], np.full(6, min(t, 1)))


def test_a_cycle_is_no_tree():
    with pytest.raises(InputError, match=r"tree given: .* so it is not a tree"):
        build("relaysgd", make("cycle:n=6"), torch.zeros(6, 2), tree="given")


def test_a_graph_in_parts_has_no_tree():
    parts = Topology(4, [(0, 1), (2, 3)], np.ones(2), "parts")
    for choice in ("auto", "given", "random"):
        with pytest.raises(InputError, match="only 2 of the 4 nodes"):
            build("relaysgd", parts, torch.zeros(4, 2), tree=choice)
