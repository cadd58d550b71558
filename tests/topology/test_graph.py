"""What a topology knows of itself, held against networkx."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.errors import InputError
from dml.topology import Topology, make


def topology(n, edges, weights=None, source="drawn", blocks=None):
    return Topology(n, edges, np.ones(len(edges)) if weights is None else weights, source, blocks)


@st.composite
def random_graphs(draw):
    """Any simple graph of 2 to 12 nodes, often disconnected or with lone nodes."""
    n = draw(st.integers(2, 12))
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    return topology(n, draw(st.lists(st.sampled_from(pairs), unique=True)))


def test_edges_in_any_order_are_kept_sorted_with_their_weights():
    t = topology(4, [(3, 2), (1, 0), (2, 0)], [0.3, 0.1, 0.2])
    assert t.edges.tolist() == [[0, 1], [0, 2], [2, 3]]
    assert t.weights.tolist() == [0.1, 0.2, 0.3]
    assert t.edges.dtype == np.int32
    assert t.weights.dtype == np.float64


def test_arrays_cannot_be_changed_behind_the_cache():
    t = make("star:n=4")
    for array in (t.edges, t.weights, t.degree, t.betweenness, *t.neighbours()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"n": 1, "edges": []}, "at least 2 nodes"),
        ({"n": 3, "edges": [(0, 0)]}, "node 0 is linked to itself"),
        ({"n": 3, "edges": [(0, 1), (1, 0)]}, "edge 0-1 is given twice"),
        ({"n": 3, "edges": [(0, 3)]}, "outside the range 0 to 2"),
        ({"n": 3, "edges": [(-1, 0)]}, "outside the range 0 to 2"),
        ({"n": 3, "edges": [(0, 1)], "weights": [0.0]}, "probability is 0.0"),
        ({"n": 3, "edges": [(0, 1)], "weights": [1.5]}, "probability is 1.5"),
        ({"n": 3, "edges": [(0, 1)], "weights": [np.nan]}, "probability is nan"),
        ({"n": 3, "edges": [(0, 1)], "weights": [1, 1]}, "weights"),
        ({"n": 3, "edges": [(0, 1)], "blocks": [0, 1]}, "blocks"),
        ({"n": 3, "edges": [(0, 1)], "source": "two\nlines"}, "one line"),
    ],
)
def test_parts_that_make_no_topology_are_refused(parts, reason):
    with pytest.raises(InputError, match=reason):
        topology(**parts)


@given(random_graphs())
def test_degree_neighbours_and_edge_numbers_agree_with_networkx(t):
    graph = t.graph()
    assert t.degree.tolist() == [graph.degree[i] for i in range(t.n)]
    indptr, indices, edge_index = t.neighbours()
    for i in range(t.n):
        row = slice(indptr[i], indptr[i + 1])
        assert indices[row].tolist() == sorted(graph[i])
        for j, edge in zip(indices[row], edge_index[row], strict=True):
            assert sorted((i, j)) == t.edges[edge].tolist()


@given(random_graphs(), st.data())
def test_distance_is_the_shortest_over_all_starts(t, data):
    starts = data.draw(st.lists(st.integers(0, t.n - 1)))
    lengths = [nx.single_source_shortest_path_length(t.graph(), start) for start in starts]
    expected = [min((hops[i] for hops in lengths if i in hops), default=-1) for i in range(t.n)]
    assert t.distance_to(starts).tolist() == expected


@pytest.mark.parametrize("node", [-1, 4])
def test_distance_to_a_node_that_is_not_there_is_an_error(node):
    with pytest.raises(IndexError, match=r"0 to 3"):
        make("chain:n=4").distance_to([node])


@settings(max_examples=25)
@given(random_graphs())
def test_betweenness_counts_the_share_of_shortest_paths_through_a_node(t):
    through = np.zeros(t.n)
    for a in range(t.n):
        for b in range(t.n):
            if a != b and nx.has_path(t.graph(), a, b):
                paths = list(nx.all_shortest_paths(t.graph(), a, b))
                through += [sum(i in path for path in paths) / len(paths) for i in range(t.n)]
    np.testing.assert_allclose(t.betweenness, through / (t.n * (t.n - 1)), atol=1e-12)


def test_of_nodes_with_equal_degree_the_lower_index_comes_first():
    t = topology(6, [(5, 1), (5, 2), (5, 3), (4, 1), (4, 2), (4, 0)])
    assert t.degree.tolist() == [1, 2, 2, 1, 3, 3]
    assert t.most_connected(4) == [4, 5, 1, 2]
    assert t.most_connected(0) == []
    assert t.most_connected(99) == [4, 5, 1, 2, 0, 3]
    with pytest.raises(ValueError, match="negative"):
        t.most_connected(-1)


@pytest.mark.parametrize(
    ("source", "label", "family", "seed"),
    [
        ("barabasi_albert:n=33,m=2,seed=7", "barabasi_albert-n33-m2", "barabasi_albert:n=33,m=2", 7),
        ("nx.foo:seed=3,a=1", "nx.foo-a1", "nx.foo:a=1", 3),
        ("nx.foo:my_seed=3", "nx.foo-my_seed3", "nx.foo:my_seed=3", None),
        ("davis_southern_women", "davis_southern_women", "davis_southern_women", None),
        ("my graph (é)", "my_graph____", "my graph (é)", None),
        ("../../etc", "_.._etc", "../../etc", None),
        (".", "topology", ".", None),
    ],
)
def test_names_for_files_and_groups(source, label, family, seed):
    t = topology(2, [(0, 1)], source=source)
    assert (t.label, t.family, t.seed) == (label, family, seed)


def test_graph_carries_the_link_probabilities():
    t = topology(3, [(0, 1), (1, 2)], [0.25, 1.0])
    assert nx.get_edge_attributes(t.graph(), "weight") == {(0, 1): 0.25, (1, 2): 1.0}
    assert list(t.graph()) == [0, 1, 2]


def test_nodes_keep_the_order_of_the_networkx_graph():
    graph = nx.Graph([("c", "a"), ("a", "b")])
    assert Topology.from_networkx(graph, "letters").edges.tolist() == [[0, 1], [1, 2]]
