"""Return times and gaps against closed forms, published numbers and simulation."""

import numpy as np
import pytest

from dml.topology import make
from dml.walks.routes import Routes
from dml.walks.theory import gossip_gap, return_time, second_modulus
from dml.walks.transitions import matrix


def mh(text):
    return matrix(make(text), "mh").toarray()


@pytest.mark.parametrize("n", [3, 4, 7, 20])
@pytest.mark.parametrize("node", [0, 2])
def test_return_times_of_the_cycle_and_the_complete_graph_have_closed_forms(n, node):
    cycle = return_time(mh(f"cycle:n={n}"), node)
    assert cycle == pytest.approx((n, (n**3 + 2 * n) / 3), rel=1e-10)
    complete = return_time(mh(f"complete:n={n}"), node)
    assert complete == pytest.approx((n, 2 * n**2 - 3 * n + 2), rel=1e-10)


def test_the_published_table_of_20_nodes():
    assert return_time(mh("cycle:n=20"), 0).square == pytest.approx(2680)
    assert return_time(mh("complete:n=20"), 0).square == pytest.approx(742)
    assert gossip_gap(make("cycle:n=20")) == pytest.approx((1 - np.cos(np.pi / 10)) / 20)
    assert gossip_gap(make("cycle:n=20")) == pytest.approx(0.00245, abs=5e-6)
    assert gossip_gap(make("complete:n=20")) == pytest.approx(1 / 19)
    # 21.5 times as much gossip on the cycle, but a mean square that is only 3.6 times as large.
    assert pytest.approx(2680, rel=0.01) == 742 * 3.6


@pytest.mark.parametrize(
    "text", ["star:n=7", "erdos_renyi:n=15,p=0.4,seed=2", "barabasi_albert:n=12,m=2,seed=0"]
)
def test_a_uniform_law_means_n_steps_on_average_at_every_node(text):
    P = mh(text)
    assert [return_time(P, node).mean for node in range(len(P))] == pytest.approx([len(P)] * len(P))


def test_the_moments_are_those_of_the_distribution_of_the_return_time():
    """P(T = t) by powers of the matrix, on a graph and with laws that are neither regular nor symmetric."""
    topology = make("barabasi_albert:n=9,m=2,seed=1")
    for text in ("mh", "simple", "lazy:0.3"):
        P = matrix(topology, text).toarray()
        for node in (0, 8):
            away, first = P[node].copy(), []
            for _ in range(4000):
                first.append(away[node])
                away[node] = 0
                away = away @ P
            t = np.arange(1, len(first) + 1)
            assert np.sum(first) == pytest.approx(1, abs=1e-12)
            assert return_time(P, node) == pytest.approx((first @ t, first @ t**2), rel=1e-9)


@pytest.mark.parametrize("text", ["cycle:n=20", "complete:n=20", "star:n=10"])
def test_simulated_return_times_are_within_three_standard_errors(text):
    topology = make(text)
    wanted = return_time(mh(text), 0)
    path = Routes(matrix(topology, "mh"), 4).path(0, 0, 200_000)
    times = np.diff(np.flatnonzero(path == 0))
    for power, expected in ((1, wanted.mean), (2, wanted.square)):
        found = times.astype(float) ** power
        assert abs(found.mean() - expected) < 3 * found.std() / np.sqrt(len(found)), power


def test_a_walk_on_an_even_cycle_is_periodic_unless_it_is_lazy():
    assert second_modulus(mh("cycle:n=20")) == second_modulus(mh("cycle:n=8")) == 1
    assert second_modulus(mh("cycle:n=401")) == pytest.approx(np.cos(np.pi / 401), abs=1e-12)
    assert second_modulus(mh("cycle:n=5")) == pytest.approx(np.cos(np.pi / 5))
    assert second_modulus(mh("complete:n=20")) == pytest.approx(1 / 19)
    lazy = matrix(make("cycle:n=20"), "lazy:0.5").toarray()
    assert second_modulus(lazy) == pytest.approx((1 + np.cos(np.pi / 10)) / 2)
    simple = matrix(make("chain:n=3"), "simple").toarray()
    assert second_modulus(simple) == pytest.approx(1)


@pytest.mark.parametrize(
    "text", ["cycle:n=12", "complete:n=8", "star:n=9", "barabasi_albert:n=10,m=2,seed=3"]
)
def test_the_gossip_gap_is_that_of_the_mean_projection(text):
    topology = make(text)
    mean = np.zeros((topology.n, topology.n))
    for i, j in topology.edges:
        W = np.eye(topology.n)
        W[np.ix_([i, j], [i, j])] = 0.5
        mean += W.T @ W / topology.m
    values = np.sort(np.linalg.eigvalsh(mean - np.ones_like(mean) / topology.n))
    assert gossip_gap(topology) == pytest.approx(1 - values[-1], rel=1e-9)
