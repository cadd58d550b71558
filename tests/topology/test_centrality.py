"""Centralities as scores: networkx's values, on the graph alone, refused where they do not exist."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml import config
from dml.errors import InputError
from dml.plan import make_plan
from dml.topology import Topology, make
from dml.topology import centrality as module_under_test
from dml.topology.centrality import CENTRALITIES, ON_CONNECTED, centrality


def by_definition(name, graph):
    """From networkx if its function is exact, otherwise from another definition."""
    n = len(graph)
    if name == "closeness":
        return nx.closeness_centrality(graph)
    if name == "harmonic":
        far = dict(nx.all_pairs_shortest_path_length(graph))
        return {i: sum(1 / d for j, d in far[i].items() if j != i) / (n - 1) for i in graph}
    if name == "load":
        return nx.load_centrality(graph)
    if name == "pagerank":
        return nx.pagerank(graph, tol=1e-14, max_iter=1000)
    if name == "eigenvector":
        return nx.eigenvector_centrality(graph, max_iter=200_000, tol=1e-13)
    if name == "katz":
        alpha = 1 / (1 + max(degree for _, degree in graph.degree()))
        return nx.katz_centrality(graph, alpha=alpha, max_iter=100_000, tol=1e-13)
    return {i: max(k for k in range(n) if i in nx.k_core(graph, k)) / (n - 1) for i in graph}


@pytest.mark.parametrize("name", CENTRALITIES)
@given(st.integers(0, 2**32 - 1), st.integers(2, 16), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@settings(max_examples=12)
def test_scores_are_networkxs(name, seed, n, density):
    graph = nx.gnp_random_graph(n, density, seed=seed)
    if name in ON_CONNECTED:
        nx.add_path(graph, range(n))
    pairs = np.array(list(graph.edges)).reshape(-1, 2)
    weights = np.random.default_rng(seed).random(len(pairs)) * 0.9 + 0.1
    scores = centrality(Topology(n, pairs, weights, "drawn"), name)
    expected = by_definition(name, graph)
    np.testing.assert_allclose(scores, [expected[i] for i in range(n)], rtol=0, atol=1e-9)
    assert (scores >= 0).all()
    assert (scores <= 1 + 1e-12).all()


@pytest.mark.parametrize("name", CENTRALITIES)
def test_the_hub_of_a_star_is_the_most_central(name):
    scores = centrality(make("star:n=9"), name)
    if name == "k_core":  # all nodes are in the 1-core
        assert (scores == 1 / 8).all()
    else:
        assert scores.argmax() == 0
        np.testing.assert_allclose(scores[1:], scores[1], rtol=1e-9)


@pytest.mark.parametrize("name", ["eigenvector", "katz"])
@pytest.mark.parametrize(
    "graph", ["watts_strogatz:n=300,k=4,p=0.1,seed=1", "barabasi_albert:n=300,m=2,seed=1", "star:n=300"]
)
def test_without_the_zeros_of_the_adjacency_matrix_the_scores_are_the_same(monkeypatch, name, graph):
    expected = centrality(make(graph), name)
    monkeypatch.setattr(module_under_test, "DENSE", 0)
    np.testing.assert_allclose(centrality(make(graph), name), expected, rtol=1e-9, atol=1e-12)


def test_the_eigenvector_of_a_long_chain_is_known():
    # Sines; the largest eigenvalues are so close that an iteration takes thousands of steps.
    n = 64
    sines = np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) * np.sqrt(2 / (n + 1))
    np.testing.assert_allclose(centrality(make(f"chain:n={n}"), "eigenvector"), sines, rtol=0, atol=1e-12)


def test_eigenvector_centrality_is_refused_on_a_graph_in_parts_before_anything_starts(tmp_path):
    weights = np.zeros((4, 4))
    weights[0, 1] = weights[1, 0] = weights[2, 3] = weights[3, 2] = 1
    np.savetxt(tmp_path / "parts.txt", weights)
    flags = {"topology_file": str(tmp_path / "parts.txt"), "out_dir": tmp_path / "out"}
    with pytest.raises(InputError, match=r"aggregation_strategy eigenvector: .* from node 0 to node 2"):
        make_plan(config.make({**flags, "aggregation_strategy": "eigenvector"}))
    for name in set(CENTRALITIES) - ON_CONNECTED:
        make_plan(config.make({**flags, "aggregation_strategy": name}))


def test_scores_are_computed_once_and_cannot_be_changed():
    topology = make("cycle:n=5")
    scores = centrality(topology, "pagerank")
    assert centrality(topology, "pagerank") is scores
    with pytest.raises(ValueError, match="read-only"):
        scores[0] = 1
