"""Random quadratics, and what each algorithm does on them: thresholds of our own runs and published ones."""

import functools

import numpy as np
import pytest
import torch
from rules import before

from dml.algorithms.build import build
from dml.errors import InputError
from dml.quadratics.problem import RandomQuadratics, run
from dml.topology import Topology, make, trees

CHAIN = make("chain:n=16")
TREE = Topology(16, trees.double_binary_trees(16)[0], np.ones(15), "tree")
RING = make("cycle:n=16")


def problem(zeta2, n=16, d=5, r0=1.0, **other):
    return RandomQuadratics(n, d, 1.0, 0.25, zeta2, r0, **other)


@functools.cache
def result(name, topology, zeta2, lr, rounds=1500, **options):
    """f(mean) - f* and the mean squared distance to the optimum at the end."""
    trace = run(problem(zeta2), lambda X: build(name, topology, X, **options), lr, rounds)
    return trace.errors[-1], trace.distance


@pytest.mark.parametrize(("L", "mu", "zeta2", "r0"), [(1, 0.25, 0.1, 1), (10, 0.01, 1e6, 100), (2, 2, 0, 0)])
def test_constants_are_those_asked_for(L, mu, zeta2, r0):
    p = RandomQuadratics(7, 6, L, mu, zeta2, r0, seed=3)
    for H in p.H:
        values = np.linalg.eigvalsh(H)
        assert values[0] == pytest.approx(mu, rel=1e-6)
        assert values[-1] == pytest.approx(L, rel=1e-6)
    at = torch.from_numpy(p.optimum).expand(7, 6)
    gradients = p.gradients(at, 0).numpy()
    assert np.mean(np.sum(gradients**2, 1)) == pytest.approx(zeta2, rel=1e-6)
    assert np.abs(gradients.mean(0)).max() <= 1e-12 * max(1, np.sqrt(zeta2))
    assert np.linalg.norm(p.optimum - p.start().numpy()[0]) == pytest.approx(r0, rel=1e-6)
    assert p.error(at) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "topology", [CHAIN, RING, make("barabasi_albert:n=16,m=2")], ids=["chain", "ring", "ba"]
)
def test_placement_changes_who_is_near_whom_and_no_constant(topology):
    """The summed squares over the edges: like neighbours least, unlike ones most, random ones between."""
    i, j = topology.edges.T
    spread, plain = {}, problem(2.0)
    for placement in ("clustered", "random", "mixed"):
        p = problem(2.0, topology=topology, placement=placement)
        assert sorted(map(tuple, p.g)) == sorted(map(tuple, plain.g))
        assert np.mean(np.sum(p.g**2, 1)) == pytest.approx(2.0, rel=1e-12)
        assert p.error(p.start()) == pytest.approx(plain.error(p.start()), rel=1e-12)
        spread[placement] = np.sum((p.g[i] - p.g[j]) ** 2)
    assert spread["clustered"] < 0.9 * spread["random"] < 0.9 * spread["mixed"]


@pytest.mark.parametrize(
    "graph", ["cycle:n=16", "cycle:n=15", "star:n=8", "chain:n=16", "torus:rows=4,cols=4"]
)
@pytest.mark.parametrize("placement", ["clustered", "mixed"])
def test_rounding_does_not_decide_who_is_where(monkeypatch, graph, placement):
    """Nor does the sign, or the choice among several eigenvectors, in which libraries differ."""
    topology, eigh, rng = make(graph), np.linalg.eigh, np.random.default_rng(0)
    expected = problem(2.0, topology.n, topology=topology, placement=placement).g

    def of_another_machine(L):
        noise = 1e-15 * rng.standard_normal(L.shape)
        values, vectors = eigh(L + noise + noise.T)
        return values, vectors * rng.choice([-1, 1], len(L))

    monkeypatch.setattr(np.linalg, "eigh", of_another_machine)
    for _ in range(5):
        found = problem(2.0, topology.n, topology=topology, placement=placement).g
        np.testing.assert_array_equal(found, expected)


def test_mixed_losses_alternate_on_an_even_ring():
    """All even nodes are equal in the eigenvector, as are all odd ones: each half gets half of the losses."""
    p = problem(2.0, topology=RING, placement="mixed")
    along = p.g @ np.linalg.svd(p.g)[2][0]
    even, odd = along[::2], along[1::2]
    assert even.max() < odd.min() or odd.max() < even.min()
    # Where the even nodes have large losses of their half, the odd ones have small losses of theirs.
    assert np.corrcoef(even, odd)[0, 1] < -0.5


def test_dpsgd_stays_further_away_where_neighbours_are_alike():
    away = {}
    for placement in ("clustered", "mixed"):
        p = problem(10.0, topology=RING, placement=placement)
        away[placement] = run(p, lambda X: build("dpsgd", RING, X), 0.1, 1500).distance
    assert away["clustered"] > 1.5 * away["mixed"]


def test_gradients_are_those_of_the_error():
    p = problem(0.5)
    x = np.random.default_rng(0).standard_normal(5)
    rows = torch.from_numpy(np.tile(x, (16, 1)))
    mean = p.gradients(rows, 0).mean(0).numpy()
    for k, e in enumerate(np.eye(5) * 1e-6):
        up, down = (p.error(torch.from_numpy(np.tile(x + s * e, (16, 1)))) for s in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(mean[k], abs=1e-8)


def test_noise_has_the_variance_asked_for_and_is_keyed():
    p = problem(0.0, noise=4.0)
    quiet = problem(0.0).gradients(p.start(), 0)
    draws = torch.stack([p.gradients(p.start(), t) - quiet for t in range(300)])
    assert draws.square().sum(2).mean().item() == pytest.approx(4, rel=0.05)
    assert torch.equal(p.gradients(p.start(), 7), p.gradients(p.start(), 7))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"zeta2": -1}, "zeta2 -1: must be at least 0"),
        ({"mu": 2}, "mu 2: the least curvature must be above 0 and at most L = 1.0"),
        ({"mu": 0}, "mu 0"),
        ({"r0": -1}, "r0 -1"),
        ({"noise": float("nan")}, "noise nan"),
        ({"n": 0}, "n 0"),
        ({"n": 1, "zeta2": 1}, "zeta2 1: must be 0"),
        ({"d": 1}, "mu 0.25: must be L = 1.0"),
    ],
)
def test_impossible_constants_are_refused(wrong, message):
    with pytest.raises(InputError) as refused:
        RandomQuadratics(**{"n": 4, **wrong})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("zeta2", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("topology", [CHAIN, TREE], ids=["chain", "tree"])
def test_relaysgd_ends_at_the_optimum_whatever_the_heterogeneity(topology, zeta2):
    kappa = trees.kappa(trees.choose(topology))
    error, distance = result("relaysgd", topology, zeta2, 0.1 * kappa)
    assert error <= 1e-12
    assert distance <= 1e-20


@pytest.mark.parametrize(("zeta2", "error", "distance"), [(0.1, 1e-6, 1e-2), (10.0, 1e-3, 1.0)])
def test_dpsgd_at_the_same_speed_stays_away_from_it(zeta2, error, distance):
    reached = result("dpsgd", CHAIN, zeta2, 0.1)
    assert reached[0] >= error
    assert reached[1] >= distance


def test_dpsgds_floor_grows_with_heterogeneity_and_learning_rate():
    floor = {
        (zeta2, lr): np.array(result("dpsgd", RING, zeta2, lr, 4000))
        for zeta2, lr in ((0.1, 0.1), (10.0, 0.1), (10.0, 0.01))
    }
    by_zeta2 = floor[10.0, 0.1] / floor[0.1, 0.1]
    by_lr = floor[10.0, 0.1] / floor[10.0, 0.01]
    assert ((by_zeta2 >= 50) & (by_zeta2 <= 200)).all()
    assert ((by_lr >= 10) & (by_lr <= 300)).all()


def test_relays_of_updates_have_a_floor_too():
    assert result("relaysgd_grad", CHAIN, 10.0, 0.05)[1] >= 1e-3


@pytest.mark.parametrize(
    ("name", "topology", "lr", "options"),
    [
        ("d2", RING, 0.1, {"edge_weight": 1 / 3 - 0.01}),
        ("gradient_tracking", RING, 0.02, {}),
        ("exact_diffusion", make("star:n=16"), 0.1, {}),
        ("exact_diffusion", CHAIN, 0.1, {}),
    ],
)
def test_corrected_gossip_ends_at_the_optimum(name, topology, lr, options):
    error, distance = result(name, topology, 10.0, lr, 4000, **options)
    assert error <= 1e-12
    assert distance <= 1e-12


@pytest.mark.parametrize("drop", [0.01, 0.1, 0.3])
def test_relaysgd_is_exact_under_loss_with_the_last_message(drop):
    error, _ = result("relaysgd", TREE, 1.0, 0.3, drop_probability=drop)
    assert error <= 1e-12


def test_other_rules_of_relaysgd_under_loss():
    reached = {
        rule: result("relaysgd", TREE, 1.0, 0.3, drop_probability=0.1, loss_rule=rule)[0]
        for rule in ("counts", "own", "half_step")
    }
    assert 1e-5 < reached["counts"] <= 5e-3
    assert 1e-5 < reached["own"] <= 5e-3
    assert 1e-5 < reached["half_step"] <= 1e-2


def test_the_start_as_a_stand_in_draws_models_back_to_it():
    p = problem(1.0, r0=10.0)
    options = {"drop_probability": 0.1, "loss_rule": "x0"}
    assert run(p, lambda X: build("relaysgd", TREE, X, **options), 0.3, 1500).errors[-1] > 1


@pytest.mark.parametrize("rule", ["hold_last", "self_weight", "renormalise"])
@pytest.mark.parametrize("name", ["dpsgd", "quasi_global_momentum"])
def test_gossip_does_not_collapse_under_loss(name, rule):
    options = {"drop_probability": 0.01, "loss_rule": rule}
    assert result(name, RING, 1.0, 0.05, **options)[0] <= 1e-2


def test_running_sums_heal_what_relays_of_updates_lose():
    lost, healed, without = (
        result("relaysgd_grad", TREE, 1.0, 0.02, drop_probability=drop, loss_rule=rule)[0]
        for drop, rule in ((0.1, "lost"), (0.1, "hold_last"), (0.0, "hold_last"))
    )
    assert healed <= 10 * without
    assert lost >= 1000 * healed


def test_push_sum_and_one_peer_reach_the_neighbourhood_of_the_optimum():
    for name in ("push_sum", "one_peer_exponential"):
        assert result(name, RING, 0.1, 0.02)[0] <= 1e-2


@pytest.mark.parametrize("name", ["d2", "gradient_tracking"])
def test_a_milestone_of_the_learning_rate_makes_no_jump(name):
    """The correction is kept over lr: published code is 10 times off in the round after lr x 0.1."""
    p = problem(10.0)
    ways = []
    X = p.start()
    rule = build(name, RING, X, edge_weight=0.3)
    for t in range(80):
        earlier, lr = X.clone(), 0.02 if t < 60 else 0.002
        before(rule, X, t)
        X.sub_(p.gradients(X, t), alpha=lr)
        rule.after(X, t, lr)
        ways.append((X - earlier).norm().item())
    assert max(ways[60:]) <= ways[59]


def test_quasi_global_momentum_settles_at_the_published_rate():
    """m -> g / (1 - mu), contracting by mu + (1 - mu) mu^2 = 0.981 a round."""
    X = torch.zeros(4, 1, dtype=torch.float64)
    rule, g, mu, lr = build("quasi_global_momentum", make("complete:n=4"), X), 2.0, 0.9, 0.1
    for t in range(400):
        earlier = X.clone()
        before(rule, X, t)
        buffer = mu * rule.momentum() + g
        X.sub_(g + mu * buffer, alpha=lr)
        rule.after(X, t, lr)
    m = rule.momentum()[0, 0].item()
    assert (earlier - X)[0, 0].item() == pytest.approx(lr * g / (1 - mu), rel=1e-3)
    assert m == pytest.approx(g / (1 - mu), rel=1e-3)
    assert abs(m * (1 - mu) / g - 1) == pytest.approx(0.981**400, rel=0.05)


def test_local_momentum_is_that_of_torch():
    p = problem(1.0, n=2)
    trace = run(p, lambda X: build("dpsgd", make("chain:n=2"), X), 0.1, 30, momentum=0.9)
    x = torch.nn.Parameter(torch.zeros(2, 5, dtype=torch.float64))
    optimizer = torch.optim.SGD([x], lr=0.1, momentum=0.9, nesterov=True)
    for t in range(30):
        x.grad = p.gradients(x.detach(), t)
        optimizer.step()
        with torch.no_grad():
            x.copy_(x.mean(0, keepdim=True).expand(2, 5))
        assert trace.errors[t + 1] == pytest.approx(p.error(x.detach()), rel=1e-7)
