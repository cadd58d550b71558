"""Eigenvalues of averaging against closed forms and simulation."""

import numpy as np
import pytest

from dml.topology import Topology, make, spectrum
from dml.topology.averaging import averaging

RING = averaging(make("cycle:n=32")).toarray()


@pytest.mark.parametrize(("decay", "published"), [(0, 3.0), (0.5, 3.72), (0.9, 6.63), (0.99, 17.1)])
def test_effective_neighbours_of_a_ring(decay, published):
    assert spectrum.effective_neighbours(RING, decay) == pytest.approx(published, rel=2e-3)


@pytest.mark.parametrize("decay", [0, 0.5, 0.99])
def test_all_nodes_count_on_the_complete_graph_and_one_alone(decay):
    full = averaging(make("complete:n=12")).toarray()
    assert spectrum.effective_neighbours(full, decay) == pytest.approx(12)
    assert spectrum.effective_neighbours(np.eye(12), decay) == pytest.approx(1)


def test_effective_neighbours_of_an_unsymmetric_matrix_is_what_a_walk_shows():
    """Also that the general form agrees with the symmetric one."""
    rng = np.random.default_rng(0)
    W = rng.random((6, 6)) + np.eye(6)
    W /= W.sum(1, keepdims=True)
    covariance = np.zeros((6, 6))
    for _ in range(2000):
        covariance = W @ (0.9 * covariance + np.eye(6)) @ W.T
    assert spectrum.effective_neighbours(W, 0.9) == pytest.approx(10 / np.trace(covariance) * 6, rel=1e-9)
    nearly = RING.copy()
    nearly[0, 0] += 1e-9
    nearly[0, 1] -= 1e-9
    for decay in (0, 0.9):
        exact = spectrum.effective_neighbours(RING, decay)
        assert spectrum.effective_neighbours(nearly, decay) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("text", ["torus:rows=3,cols=4", "torus:rows=5,cols=3"])
def test_a_torus_wraps_within_its_rows_and_columns(text):
    topology = make(text)
    rows, cols = (int(part.split("=")[1]) for part in text.partition(":")[2].split(","))
    assert (topology.degree == 4).all()
    wanted = {
        tuple(sorted((r * cols + c, other)))
        for r in range(rows)
        for c in range(cols)
        for other in ((r + 1) % rows * cols + c, r * cols + (c + 1) % cols)
    }
    assert set(map(tuple, topology.edges.tolist())) == wanted


def test_the_least_eigenvalue_of_the_even_ring_is_on_d2s_limit():
    W = averaging(make("cycle:n=16"), 1 / 3).toarray()
    assert spectrum.lambda_min(W) == pytest.approx(-1 / 3, abs=1e-12)
    assert not spectrum.admits_d2(W)
    below = averaging(make("cycle:n=16"), 1 / 3 - 0.01).toarray()
    assert spectrum.lambda_min(below) == pytest.approx(1 - 4 * (1 / 3 - 0.01))


def test_the_spread_of_dpsgd_is_that_of_its_fixed_point():
    """One node with gradient e, and quadratics of curvature 1: X = W (X - lr (X + G)) at rest."""
    W, lr = averaging(make("barabasi_albert:n=12,m=2,seed=0")).toarray(), 1e-5
    G = np.random.default_rng(1).standard_normal((12, 40_000))
    G -= G.mean(0)
    X = np.linalg.solve(np.eye(12) - (1 - lr) * W, -lr * W @ G)
    spread = np.mean((X - X.mean(0)) ** 2) / np.mean(G**2) / lr**2
    assert spectrum.dpsgd_spread(W) == pytest.approx(spread, rel=0.03)


def test_a_graph_in_parts_has_no_spread():
    parts = Topology(4, [(0, 1), (2, 3)], np.ones(2), "parts")
    assert spectrum.dpsgd_spread(averaging(parts).toarray()) is None


@pytest.mark.parametrize("text", ["cycle:n=8", "cycle:n=7", "star:n=6", "double_binary_trees:n=16"])
def test_d2_runs_just_below_the_edge_weight_that_it_is_told_and_not_above(text):
    topology = make(text)
    limit = spectrum.d2_edge_weight(topology)
    for weight, runs in ((0.999 * limit, True), (1.001 * limit, False)):
        L = np.diag(topology.degree.astype(float))
        for i, j in topology.edges:
            L[i, j] = L[j, i] = -1
        assert spectrum.admits_d2(np.eye(topology.n) - weight * L) == runs


def gap(spec):
    return spectrum.spectral_gap(averaging(make(spec)).toarray())


@pytest.mark.parametrize("n", [2, 3, 10])
def test_one_round_on_a_complete_graph_averages_exactly(n):
    assert gap(f"complete:n={n}") == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [4, 5, 8, 33])
def test_spectral_gap_of_a_cycle(n):
    """All weights are 1/3, so the eigenvalues are (1 + 2 cos(2 pi k / n)) / 3."""
    moduli = np.sort(np.abs((1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3))
    assert gap(f"cycle:n={n}") == pytest.approx(1 - moduli[-2], abs=1e-12)


def test_the_most_negative_eigenvalue_counts_too():
    """On the complete bipartite graph of 2a nodes the eigenvalues are 1, 1/(a+1) and (1-a)/(a+1)."""
    assert gap("nx.turan_graph:n=10,r=2") == pytest.approx(1 - 4 / 6, abs=1e-12)


def test_a_disconnected_graph_has_no_gap():
    parts = Topology(6, [(0, 1), (1, 2), (3, 4)], np.ones(3), "parts")
    assert spectrum.spectral_gap(averaging(parts).toarray()) == pytest.approx(0, abs=1e-12)
