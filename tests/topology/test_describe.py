"""The numbers of a graph against closed forms and networkx."""

import json

import networkx as nx
import numpy as np
import pytest

from dml.topology import Topology, describe, make
from dml.topology.describe import metropolis_hastings, modularity, spectral_gap


@pytest.mark.parametrize("n", [2, 3, 10])
def test_one_round_on_a_complete_graph_averages_exactly(n):
    assert spectral_gap(make(f"complete:n={n}")) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [4, 5, 8, 33])
def test_spectral_gap_of_a_cycle(n):
    """All weights are 1/3, so the eigenvalues are (1 + 2 cos(2 pi k / n)) / 3."""
    moduli = np.sort(np.abs((1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3))
    assert spectral_gap(make(f"cycle:n={n}")) == pytest.approx(1 - moduli[-2], abs=1e-12)


def test_the_most_negative_eigenvalue_counts_too():
    """On the complete bipartite graph of 2a nodes the eigenvalues are 1, 1/(a+1) and (1-a)/(a+1)."""
    assert spectral_gap(make("nx.turan_graph:n=10,r=2")) == pytest.approx(1 - 4 / 6, abs=1e-12)


def test_metropolis_hastings_is_symmetric_and_doubly_stochastic():
    t = make("barabasi_albert:n=33,m=2,seed=0")
    W = metropolis_hastings(t)
    assert (W == W.T).all()
    np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
    assert (W.diagonal() > 0).all()
    i, j = t.edges[0]
    assert W[i, j] == 1 / (1 + max(t.degree[i], t.degree[j]))


def test_a_disconnected_graph_is_described_by_part():
    t = Topology(6, [(0, 1), (1, 2), (3, 4)], np.ones(3), "parts")
    facts = describe(t)
    assert facts["components"] == 3
    assert facts["diameter"] == [2, 1, 0]
    assert facts["spectral_gap"] == pytest.approx(0, abs=1e-12)
    assert facts["degree"] == {"min": 0, "mean": 1.0, "max": 2}


def test_modularity_is_that_of_the_generators_blocks():
    t = make("stochastic_block:blocks=3,size=11,p_in=0.5,p_out=0.05,seed=0")
    blocks = [range(0, 11), range(11, 22), range(22, 33)]
    assert modularity(t) == pytest.approx(nx.community.modularity(t.graph(), blocks), abs=1e-12)


def test_modularity_without_blocks_is_that_of_greedy_communities():
    triangles = Topology(6, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)], np.ones(7), "two")
    # per triangle 3 of 7 edges inside, and half of all edge ends
    assert modularity(triangles) == pytest.approx(2 * (3 / 7 - 0.25), abs=1e-12)


def test_link_probabilities_play_no_part():
    t = make("barabasi_albert:n=16,m=2,seed=0")
    assert describe(t.with_weights(np.linspace(0.1, 1, t.m), "weak")) == describe(t)


def test_what_would_take_minutes_is_left_out():
    t = make("complete:n=102")  # 5,151 edges
    facts = describe(t)
    assert facts["modularity"] is None
    assert facts["betweenness"] is None
    blocks = make("stochastic_block:blocks=2,size=75,p_in=1,p_out=0")  # 5,550 edges, but its blocks are known
    assert modularity(blocks) == pytest.approx(0.5)
    assert modularity(make("erdos_renyi:n=4,p=0")) is None


def test_the_description_is_plain_json():
    facts = describe(make("star:n=5"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["n"] == 5
    assert facts["m"] == 4
    assert facts["diameter"] == [2]
    assert facts["betweenness"]["max"] == 1
    assert facts["betweenness"]["min"] == pytest.approx(2 / 5)
