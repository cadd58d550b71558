"""Coefficients, compared with a direct loop over neighbours."""

import math
from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
from coefficients.test_similarity import plain_similarity
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import population_of
from scipy.sparse import csr_array
from torch import nn

from dml import randomness
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.coefficients.options import ScoreOptions
from dml.coefficients.similarity import cosine_similarity
from dml.coefficients.strategies import STRATEGIES, Context, by_score, with_self_weight
from dml.exchange.links import all_to_all, over_edges
from dml.topology import Topology, make
from dml.topology.centrality import CENTRALITIES, ON_CONNECTED, centrality

BY_SIMILARITY = ["degCent_sim", "betCent_sim"]
SCORED = [name for name, strategy in STRATEGIES.items() if issubclass(strategy.options, ScoreOptions)]
BY_COEFFICIENTS = [name for name, strategy in STRATEGIES.items() if strategy.coefficients]


def random_topology(rng, n, density, failing, connected=False):
    """A random graph, often disconnected; link probabilities of 1, or anything above 0."""
    chain = np.eye(n, k=1) > 0 if connected else False
    pairs = np.argwhere(np.triu(rng.random((n, n)) < density, 1) | chain)
    weights = np.where(rng.random(len(pairs)) < 0.7, 1 - rng.random(len(pairs)), 1.0)
    return Topology(n, pairs, weights if failing else np.ones(len(pairs)), "drawn")


def coefficients(topology, config, samples, seed, number, selected, population=None):
    make_links = all_to_all if STRATEGIES[config.aggregation_strategy].complete else over_edges
    links = make_links(topology, 0, seed)
    C = StrategyCoefficients(topology, links, config, {"samples": samples.astype(float)}, seed)
    C.taking_part = selected
    # Most coefficients look at the graph alone, and need no models.
    if population is not None:
        C.similarity = partial(
            cosine_similarity, lambda columns: population.X[:, columns], population.tensors
        )
    return C(number, links.arrived(number))


def models(name, n, seed):
    """Random models, for the strategies that look at them."""
    return population_of(lambda: nn.Linear(2, 2), n, seed) if name in BY_SIMILARITY else None


def working_neighbourhoods(topology, seed, number):
    """Node by node, itself included; a link works for each direction apart."""
    near = [{i} for i in range(topology.n)]
    for (a, b), weight in zip(topology.edges.tolist(), topology.weights.tolist(), strict=True):
        for i, j in ((a, b), (b, a)):
            if randomness.uniforms(seed, "link", number, i, j)[0] < weight:
                near[i].add(j)
    return [sorted(nodes) for nodes in near]


def scores_of(name, topology, samples, seed, number):
    n = topology.n
    if name == "random":
        return randomness.generator(seed, "random scores", number).random(n).tolist()
    if name in ("degCent", "degCent_sim"):
        return [(topology.edges == i).sum() / (n - 1) for i in range(n)]
    if name in ("betCent", "betCent_sim"):
        share = nx.betweenness_centrality(nx.Graph(topology.graph()), normalized=True, endpoints=True)
        return [share[i] for i in range(n)]
    if name in CENTRALITIES:
        return centrality(topology, name).tolist()
    return samples.tolist() if name == "weighted" else [1.0] * n


def signed(s, c, i, hood, population):
    """s of row i, by the neighbour least similar to i; the first of several."""
    modules, others = (population.modules, [j for j in hood if j != i])
    if not others:
        return abs(s)
    alike = [plain_similarity(modules[i], modules[j]) for j in others]
    k = others[next(at for at, value in enumerate(alike) if value <= min(alike) + 1e-12)]
    return -abs(s) if c[k] < c[i] else abs(s)


def plain(name, topology, config, samples, seed, number, selected, population):
    """C row by row, as section 3 of arXiv 2505.11760 says it."""
    n = topology.n
    C = [[0.0] * n for _ in range(n)]
    near = working_neighbourhoods(topology, seed, number)
    mutual = [[j for j in near[k] if j != k and k in near[j]] for k in range(n)]
    c = scores_of(name, topology, samples, seed, number)
    for i in range(n):
        hood = range(n) if name == "unweighted_fl" else near[i]
        if not selected[i] or name == "test_agg":
            C[i][i] = 1.0
        elif name == "scale_agg":
            C[i][i] = 1 / len(hood)
        elif name == "metropolis_hastings":
            for j in mutual[i]:
                C[i][j] = 1 / (1 + max(len(mutual[i]), len(mutual[j])))
            C[i][i] = 1 - math.fsum(C[i])
        else:
            if name in SCORED and config.options.softmax:
                s = config.options.softmax_coeff
                if name in BY_SIMILARITY:
                    s = signed(s, c, i, hood, population)
                top = max(s * c[j] for j in hood)
                weight = {j: math.exp(s * c[j] - top) for j in hood}
            else:
                weight = {j: float(c[j]) for j in hood}
            if sum(weight.values()) == 0:
                weight = dict.fromkeys(hood, 1.0)
            total = math.fsum(weight.values())
            for j in hood:
                C[i][j] = weight[j] / total
        hood = mutual[i] if name == "metropolis_hastings" else hood
        if config.self_weight and selected[i] and STRATEGIES[name].exchanges and set(hood) - {i}:
            rest = {j: C[i][j] for j in hood if j != i}
            total = math.fsum(rest.values())
            for j in rest:
                C[i][j] = (1 - config.self_weight) * (rest[j] / total if total else 1 / len(rest))
            C[i][i] = config.self_weight
    return np.array(C)


@pytest.mark.parametrize(
    ("name", "softmax"),
    [(name, soft) for name in BY_COEFFICIENTS for soft in (False, True) if soft or name not in BY_SIMILARITY],
)
@given(
    st.integers(0, 2**32 - 1),
    st.one_of(st.integers(2, 12), st.integers(2, 64)),
    st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    st.booleans(),
    st.floats(-50, 50),
    st.booleans(),
    st.none() | st.floats(0.001, 0.999),
)
@settings(max_examples=15)
def test_coefficients_equal_a_loop_over_neighbours(
    name, softmax, seed, n, density, failing, s, everybody, self_weight
):
    rng = np.random.default_rng(seed)
    topology = random_topology(rng, n, density, failing, connected=name in ON_CONNECTED)
    samples = rng.integers(1, 1000, size=n)
    selected = np.ones(n, bool) if everybody else rng.random(n) < 0.5
    number = int(rng.integers(100))
    config = StrategyConfig(
        aggregation_strategy=name, softmax=softmax, softmax_coeff=s, self_weight=self_weight
    )
    population = models(name, n, seed)
    C = coefficients(topology, config, samples, seed, number, selected, population)
    assert C.format == "csr"
    assert C.dtype == np.float64
    C = C.toarray()
    assert (C >= 0).all()
    outside = np.ones((n, n), bool)
    for i, hood in enumerate(working_neighbourhoods(topology, seed, number)):
        outside[i, range(n) if name == "unweighted_fl" else hood] = False
    assert (C[outside] == 0).all()
    if name != "scale_agg":
        np.testing.assert_allclose(C.sum(axis=1), 1, rtol=0, atol=1e-12)
    expected = plain(name, topology, config, samples, seed, number, selected, population)
    np.testing.assert_allclose(C, expected, rtol=0, atol=1e-12)
    assert (C[~selected] == np.eye(n)[~selected]).all()


def neighbourhoods(topology, scores, softmax):
    """C of artificial scores on a graph whose links all work."""
    near = working_neighbourhoods(topology, 0, 0)
    indptr = np.cumsum([0, *map(len, near)])
    ctx = Context(topology, indptr, np.concatenate(near), 0, {}, ScoreOptions(), 0, None)
    return by_score(ctx, np.array(scores, float), softmax).toarray()


def test_a_row_whose_scores_sum_to_nothing_is_uniform():
    # Node 3 alone has a score; of the chain 0-1-2-3-4 rows 0 and 1 see nothing of it.
    C = neighbourhoods(make("chain:n=5"), [0, 0, 0, 7, 0], None)
    third, half = 1 / 3, 1 / 2
    assert np.array_equal(
        C,
        [
            [half, half, 0, 0, 0],
            [third, third, third, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 1, 0],
        ],
    )


@pytest.mark.parametrize("name", ["degCent", "betCent"])
@pytest.mark.parametrize("softmax", [False, True])
def test_a_node_without_neighbours_keeps_its_model_though_its_centrality_is_0(name, softmax):
    topology = Topology(4, np.array([[0, 1], [1, 2]]), np.ones(2), "drawn")
    config = StrategyConfig(aggregation_strategy=name, softmax=softmax)
    C = coefficients(topology, config, np.ones(4, int), 0, 0, np.ones(4, bool)).toarray()
    assert C[3].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("s", [1e300, -1e300, 1e6, -1e6])
def test_softmax_of_huge_scores_and_coefficients_takes_the_extreme_neighbour(s):
    scores = np.array([1e3, 2e3, -5e3, 2e3, 0.0])
    topology = make("complete:n=5")
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        C = neighbourhoods(topology, scores, s)
    best = scores == (scores.max() if s > 0 else scores.min())
    assert np.array_equal(C, np.tile(best / best.sum(), (5, 1)))


@pytest.mark.parametrize("name", SCORED)
def test_softmax_with_coefficient_0_is_unweighted(name):
    topology = make("barabasi_albert:n=12,m=2,seed=0")
    everybody, samples = np.ones(12, bool), np.ones(12, int)
    flat = StrategyConfig(aggregation_strategy=name, softmax=True, softmax_coeff=0)
    even = StrategyConfig(aggregation_strategy="unweighted")
    np.testing.assert_allclose(
        coefficients(topology, flat, samples, 0, 0, everybody, models(name, 12, 0)).toarray(),
        coefficients(topology, even, samples, 0, 0, everybody).toarray(),
        rtol=0,
        atol=1e-15,
    )


def test_random_scores_are_new_in_every_round_and_the_same_on_every_graph():
    config = StrategyConfig(aggregation_strategy="random")
    complete, n = make("complete:n=8"), 8

    def row(topology, number, seed=0):
        # The star's hub and every node of the complete graph see all nodes.
        return coefficients(topology, config, np.ones(n, int), seed, number, np.ones(n, bool)).toarray()[0]

    assert np.array_equal(row(complete, 0), row(make("star:n=8"), 0))
    assert not np.isclose(row(complete, 0), row(complete, 1)).any()
    # Round 1 of seed 0 is not round 0 of seed 1, as it was in the published code.
    assert not np.isclose(row(complete, 1, seed=0), row(complete, 0, seed=1)).any()


def test_centrality_and_samples_decide_who_weighs_most():
    topology, samples = make("star:n=6"), np.array([1, 1, 1, 1, 1, 95])
    everybody = np.ones(6, bool)

    def row(name, node):
        config = StrategyConfig(aggregation_strategy=name)
        return coefficients(topology, config, samples, 0, 0, everybody).toarray()[node]

    # A leaf and the hub, degrees 1 and 5 of 5: a sixth and five sixths.
    np.testing.assert_allclose(row("degCent", 1), [5 / 6, 1 / 6, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(row("weighted", 0), [0.01, 0.01, 0.01, 0.01, 0.01, 0.95], atol=1e-15)
    # End points count: each of 30 ordered pairs passes the hub, 10 touch a leaf.
    np.testing.assert_allclose(row("betCent", 1), [3 / 4, 1 / 4, 0, 0, 0, 0], atol=1e-15)


@pytest.mark.parametrize("coefficient", [3.0, -3.0])
def test_the_neighbour_least_alike_decides_whom_a_row_turns_to(coefficient):
    # The hub of a star and its leaves 1, 2, 3; the models are vectors in a plane.
    population = population_of(lambda: nn.Linear(2, 1, bias=False), 4, 0)
    angles = np.radians([0, 10, 80, 10])
    population.X[:, :2] = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    config = StrategyConfig(aggregation_strategy="degCent_sim", softmax=True, softmax_coeff=coefficient)
    everybody, samples = np.ones(4, bool), np.ones(4, int)
    C = coefficients(make("star:n=4"), config, samples, 0, 0, everybody, population).toarray()
    hub, leaf = math.exp(-3), math.exp(-1)
    # The leaf least like the hub is less central than it: s is negative, and leaves weigh more.
    np.testing.assert_allclose(C[0], np.array([hub, leaf, leaf, leaf]) / (hub + 3 * leaf), atol=1e-14)
    # A leaf has the hub alone, which is more central.
    expected = np.array([1 / hub, 1 / leaf]) / (1 / hub + 1 / leaf)
    np.testing.assert_allclose(C[1, :2], expected, atol=1e-14)


def test_of_neighbours_equally_unlike_the_lower_index_decides():
    # Node 1 of the chain 0-1-2-3 has neighbours of degrees 1 and 2, that are equally unlike it.
    everybody, samples = np.ones(4, bool), np.ones(4, int)
    config = StrategyConfig(aggregation_strategy="degCent_sim", softmax=True)
    for unlike, weighs_most in (([0, 2], 0), ([2], 1)):
        population = population_of(lambda: nn.Linear(9, 5), 4, 3, same=True)
        with torch.no_grad():
            population.X[unlike] *= -1
        C = coefficients(make("chain:n=4"), config, samples, 0, 0, everybody, population).toarray()
        assert C[1].argmax() == weighs_most


def test_what_rounding_alone_tells_apart_is_a_tie():
    # Nodes 0 and 2 have the same model in other lengths, so other last bits of the same cosine with node 1.
    population = population_of(lambda: nn.Linear(9, 5), 4, 3, dtype=torch.float64)
    config = StrategyConfig(aggregation_strategy="degCent_sim", softmax=True)
    everybody, samples = np.ones(4, bool), np.ones(4, int)
    model = population.X[0].clone()
    for length in np.linspace(0.1, 3, 30):
        with torch.no_grad():
            population.X[2] = model * float(length)
        C = coefficients(make("chain:n=4"), config, samples, 0, 0, everybody, population).toarray()
        assert C[1].argmax() == 0


def test_models_that_are_all_the_same_are_told_apart_by_nothing_but_the_index():
    population = population_of(lambda: nn.Linear(9, 5), 9, 3, same=True)
    config = StrategyConfig(aggregation_strategy="degCent_sim", softmax=True)
    topology = make("barabasi_albert:n=9,m=2,seed=0")
    everybody, samples = np.ones(9, bool), np.ones(9, int)
    C = coefficients(topology, config, samples, 0, 0, everybody, population).toarray()
    expected = plain("degCent_sim", topology, config, samples, 0, 0, everybody, population)
    np.testing.assert_allclose(C, expected, rtol=0, atol=1e-12)


def test_a_model_that_is_not_finite_is_the_least_alike():
    population = population_of(lambda: nn.Linear(9, 5), 4, 3, same=True)
    with torch.no_grad():
        population.X[2, 7] = float("nan")
        population.X[0] *= -1
    config = StrategyConfig(aggregation_strategy="degCent_sim", softmax=True)
    everybody, samples = np.ones(4, bool), np.ones(4, int)
    C = coefficients(make("chain:n=4"), config, samples, 0, 0, everybody, population).toarray()
    assert np.isfinite(C).all()
    assert C[1].argmax() == 1


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([0.1, 0.5, 1.0]), st.booleans())
@settings(max_examples=25)
def test_metropolis_hastings_is_symmetric_and_keeps_the_mean_whatever_links_fail(seed, n, density, failing):
    topology = random_topology(np.random.default_rng(seed), n, density, failing)
    config = StrategyConfig(aggregation_strategy="metropolis_hastings")
    for number in range(3):
        W = coefficients(topology, config, np.ones(n, int), seed, number, np.ones(n, bool)).toarray()
        assert np.array_equal(W, W.T)
        np.testing.assert_allclose(W.sum(axis=0), 1, rtol=0, atol=1e-14)
        assert (W.diagonal() > 0).all()


def test_metropolis_hastings_of_a_star():
    config = StrategyConfig(aggregation_strategy="metropolis_hastings")
    W = coefficients(make("star:n=4"), config, np.ones(4, int), 0, 0, np.ones(4, bool)).toarray()
    expected = np.diag([1, 3, 3, 3]) / 4
    expected[0, 1:] = expected[1:, 0] = 1 / 4
    np.testing.assert_allclose(W, expected, rtol=0, atol=1e-15)


def test_a_self_weight_is_every_nodes_own_and_leaves_the_neighbours_their_proportions():
    topology = Topology(6, np.array([[0, 1], [0, 2], [0, 3], [3, 4]]), np.ones(4), "drawn")
    everybody, samples = np.ones(6, bool), np.arange(1, 7)
    weighted = StrategyConfig(aggregation_strategy="weighted")
    before = coefficients(topology, weighted, samples, 0, 0, everybody).toarray()
    own = weighted.model_copy(update={"self_weight": 0.25})
    after = coefficients(topology, own, samples, 0, 0, everybody).toarray()
    assert after.diagonal().tolist() == [0.25] * 5 + [1]  # node 5 has no neighbour
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(after[0, 1:4] / after[0, 1], before[0, 1:4] / before[0, 1], rtol=1e-14)


def test_a_rest_that_sums_to_nothing_is_uniform():
    # Row 0 stores two neighbours of weight 0, row 2 its own node alone.
    C = csr_array((np.array([1.0, 0.0, 0.0, 0.5, 0.5, 1.0]), [0, 1, 2, 0, 1, 2], [0, 3, 5, 6]), shape=(3, 3))
    assert with_self_weight(C, 0.5).toarray().tolist() == [[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 0, 1]]
