"""Spanning trees against networkx."""

import networkx as nx
import numpy as np
import pytest

from dml.errors import InputError
from dml.topology import Topology, make, trees

GRAPHS = ["barabasi_albert:n=24,m=2,seed=1", "cycle:n=9", "torus:rows=3,cols=4", "complete:n=6", "star:n=8"]


def graph_of(topology, tree):
    graph = nx.empty_graph(topology.n)
    graph.add_edges_from(topology.edges[tree.edges].tolist())
    return graph


@pytest.mark.parametrize("text", GRAPHS)
@pytest.mark.parametrize("method", trees.METHODS)
def test_every_method_spans_and_knows_its_distances(text, method):
    topology = make(text)
    (tree,) = trees.choose(topology, method)
    graph = graph_of(topology, tree)
    assert nx.is_tree(graph)
    assert tree.diameter() == nx.diameter(graph)
    assert tree.mean_distance() == pytest.approx(nx.floyd_warshall_numpy(graph).mean(), abs=1e-12)


def all_spanning_trees(topology):
    return list(nx.SpanningTreeIterator(topology.graph()))


@pytest.mark.parametrize("text", ["cycle:n=7", "barabasi_albert:n=7,m=2,seed=3", "complete:n=5"])
def test_min_diameter_is_the_least_of_all_spanning_trees(text):
    topology = make(text)
    least = min(nx.diameter(graph) for graph in all_spanning_trees(topology))
    assert trees.choose(topology, "min_diameter")[0].diameter() == least


def test_min_mean_distance_is_the_best_breadth_first_tree():
    topology = make(GRAPHS[0])
    means = [trees.choose(topology, "bfs", root)[0].mean_distance() for root in range(topology.n)]
    assert trees.choose(topology)[0].mean_distance() == min(means)
    assert max(means) > min(means)


def test_the_default_root_is_the_node_of_highest_degree():
    topology = make("star:n=5")
    assert trees.choose(make(GRAPHS[0]), "bfs")[0].name.endswith(
        f"node {make(GRAPHS[0]).most_connected(1)[0]}"
    )
    assert trees.choose(topology)[0].name == "the graph itself"


def test_random_trees_are_uniform():
    """A cycle of 5 has 5 spanning trees; 400 draws of each 80, with a standard deviation of 8."""
    topology = make("cycle:n=5")
    missing = [10 - trees.choose(topology, "random", seed=seed)[0].edges.sum() for seed in range(400)]
    assert np.bincount(missing).min() > 50
    again = trees.choose(topology, "random", seed=7)[0]
    assert (again.edges == trees.choose(topology, "random", seed=7)[0].edges).all()


def test_two_chains_are_cut_at_opposite_edges():
    ring = Topology(6, [(0, 3), (3, 1), (1, 5), (5, 2), (2, 4), (4, 0)], np.ones(6), "ring")
    cut = [set(range(6)) - set(tree.edges.tolist()) for tree in trees.choose(ring, "two_chains")]
    first, second = (ring.edges[row.pop()].tolist() for row in cut)
    without = ring.graph()
    without.remove_edges_from([first, second])
    assert sorted(map(len, nx.connected_components(without))) == [3, 3]
    with pytest.raises(InputError, match="must be a ring"):
        trees.choose(make("star:n=4"), "two_chains")


def test_double_binary_trees_share_the_load():
    """Each node has the same number of edges in both trees together, but for the ends."""
    topology = make("double_binary_trees:n=16")
    both = sum(
        np.bincount(topology.edges[tree.edges].ravel(), minlength=16)
        for tree in trees.choose(topology, "double_binary_trees")
    )
    assert both.max() <= 4
    assert np.median(both) == 4


def test_a_preset_needs_its_edges():
    with pytest.raises(InputError, match=r"tree chain: .* lacks the edge 1-2 and 1 others"):
        trees.choose(make("star:n=4"), "chain")


def test_wrong_choices_are_refused():
    topology = make("cycle:n=4")
    with pytest.raises(InputError, match=r"tree_root 4: is not a node; nodes are 0 to 3"):
        trees.choose(topology, "bfs", 4)
    with pytest.raises(InputError, match="only the tree bfs has a root"):
        trees.choose(topology, "random", 1)
    with pytest.raises(InputError, match="no such tree"):
        trees.choose(topology, "oak")


@pytest.mark.parametrize("choice", ["min_mean_distance", "min_diameter"])
def test_a_star_is_found_without_a_look_at_the_other_trees(choice, monkeypatch):
    """The same as after a look at all: of a complete graph's, the one from the first node."""
    looked, own = [], trees._from
    monkeypatch.setattr(trees, "_from", lambda topology, roots: looked.append(roots) or own(topology, roots))
    (tree,) = trees.choose(make("complete:n=50"), choice)
    assert tree.name == "the breadth-first tree from node 0"
    assert len(looked) == 2
    wheel = nx.relabel_nodes(nx.wheel_graph(7), {0: 6, 6: 0})
    edges = np.array(sorted(tuple(sorted(edge)) for edge in wheel.edges), np.int32)
    (tree,) = trees.choose(Topology(7, edges, np.ones(len(edges)), "wheel"), choice)
    assert tree.name == "the breadth-first tree from node 6"
    assert tree.diameter() == 2
