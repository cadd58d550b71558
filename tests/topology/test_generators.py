"""Graphs by name: the right graph, the text that makes it again, and what is refused."""

import networkx as nx
import numpy as np
import pytest

from dml.errors import InputError
from dml.topology import Topology, make
from dml.topology.generators import GENERATORS

SIZES = {
    "star:n=7": (7, 6),
    "chain:n=7": (7, 6),
    "cycle:n=7": (7, 7),
    "complete:n=7": (7, 21),
    "hypercube:n=16": (16, 32),
    "hypercube:n=2": (2, 1),
    "torus:rows=3,cols=5": (15, 30),
    "binary_tree:n=10": (10, 9),
    # the edge 5-10 is in both trees
    "double_binary_trees:n=16": (16, 29),
    "barabasi_albert:n=33,m=3": (33, 3 * 30),
    "watts_strogatz:n=33,k=4,p=0.5": (33, 66),
    "erdos_renyi:n=9,p=1": (9, 36),
    "erdos_renyi:n=9,p=0": (9, 0),
    "random_regular:n=10,d=3": (10, 15),
    # the first new node closes no triangle, so nothing is lost at p = 0
    "powerlaw_cluster:n=20,m=2,p=0": (20, 2 * 18),
    "stochastic_block:blocks=3,size=4,p_in=1,p_out=0": (12, 3 * 6),
    "stochastic_block:blocks=3,size=4,p_in=0,p_out=1": (12, 3 * 16),
    "davis_southern_women": (32, 89),
    "nx.circular_ladder_graph:n=5": (10, 15),
}


def test_every_generator_is_in_the_table_of_sizes():
    assert {text.partition(":")[0] for text in SIZES} >= set(GENERATORS)


@pytest.mark.parametrize("text", SIZES)
def test_size_and_source_that_makes_it_again(text):
    t = make(text, seed=5)
    assert (t.n, t.m) == SIZES[text]
    again = make(t.source, seed=6)
    assert again.source == t.source
    assert again.edges.tolist() == t.edges.tolist()
    assert (t.weights == 1).all()


@pytest.mark.parametrize("text", SIZES)
def test_the_size_foreseen_is_not_below_the_size_built(text):
    name = text.partition(":")[0]
    if name in GENERATORS:
        values = {
            key: GENERATORS[name].takes[key].parse(value)
            for key, _, value in (part.partition("=") for part in text.partition(":")[2].split(",") if part)
        } | ({"seed": 0} if "seed" in GENERATORS[name].takes else {})
        nodes, edges = GENERATORS[name].size(**values)
        assert nodes == SIZES[text][0]
        assert edges >= SIZES[text][1]


def test_shapes_that_a_count_does_not_tell_apart():
    assert make("star:n=5").degree.tolist() == [4, 1, 1, 1, 1]
    assert make("chain:n=4").edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert make("cycle:n=4").edges.tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    assert make("binary_tree:n=6").edges.tolist() == [[0, 1], [0, 2], [1, 3], [1, 4], [2, 5]]
    assert set(make("torus:rows=3,cols=4").degree) == {4}
    assert set(make("random_regular:n=12,d=5").degree) == {5}
    assert make("stochastic_block:blocks=2,size=3,p_in=1,p_out=0").blocks.tolist() == [0, 0, 0, 1, 1, 1]


def test_hypercube_joins_the_numbers_that_differ_in_one_bit():
    differing = [int(i ^ j) for i, j in make("hypercube:n=16").edges]
    assert all(bits.bit_count() == 1 for bits in differing)


def test_random_graphs_are_those_of_networkx_for_that_seed():
    assert make("barabasi_albert:n=33,m=2,seed=4").edges.tolist() == sorted(
        sorted(edge) for edge in nx.barabasi_albert_graph(33, 2, seed=4).edges()
    )
    assert make("watts_strogatz:n=33,k=4,p=0.5,seed=4").edges.tolist() == sorted(
        sorted(edge) for edge in nx.connected_watts_strogatz_graph(33, 4, 0.5, seed=4).edges()
    )


def test_watts_strogatz_is_connected_where_plain_draws_are_not():
    plain = [nx.watts_strogatz_graph(16, 2, 0.5, seed=seed) for seed in range(10)]
    assert not all(nx.is_connected(graph) for graph in plain)
    drawn = [make("watts_strogatz:n=16,k=2,p=0.5", seed) for seed in range(10)]
    assert all(nx.is_connected(t.graph()) for t in drawn)


def test_the_seed_given_beside_is_used_only_where_the_text_has_none():
    assert make("erdos_renyi:n=20,p=0.5", seed=3).source == "erdos_renyi:n=20,p=0.5,seed=3"
    assert make("erdos_renyi:p=.5,seed=1,n=20", seed=3).source == "erdos_renyi:n=20,p=0.5,seed=1"
    assert make("star:n=4", seed=3).source == "star:n=4"
    assert (
        make("nx.barabasi_albert_graph:n=9,m=2", seed=3).source == "nx.barabasi_albert_graph:n=9,m=2,seed=3"
    )
    draws = [make("erdos_renyi:n=20,p=0.5", seed=seed).edges for seed in (0, 1)]
    assert not np.array_equal(*draws)


def test_a_sparse_stochastic_block_draw_may_fall_apart():
    t = make("stochastic_block:blocks=3,size=11,p_in=0.5,p_out=0,seed=0")
    assert nx.number_connected_components(t.graph()) >= 3


def test_networkx_weights_are_not_taken_for_probabilities():
    assert set(nx.get_edge_attributes(nx.karate_club_graph(), "weight").values()) != {1}
    assert (make("nx.karate_club_graph").weights == 1).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no such file or generator"),
        ("foo:n=3", "star, chain, .*davis_southern_women, nx.<function>"),
        ("barabasi_albrt:n=3", "did you mean barabasi_albert"),
        ("star", "star takes n; n is missing, as in star:n=16"),
        ("star:m=3", "star takes n, not m"),
        ("davis_southern_women:n=3", "takes no argument, not n"),
        ("star:n", "'n' must be key=value"),
        ("star:n=3,", "'' must be key=value"),
        ("star:n=3,n=4", "n is given twice"),
        ("star:n=abc", "n must be a whole number of at least 2, not abc"),
        ("star:n=4.0", "n must be a whole number"),
        ("star:n=1", "at least 2, not 1"),
        ("cycle:n=2", "at least 3, not 2"),
        ("torus:rows=2,cols=5", "rows must be a whole number of at least 3"),
        ("hypercube:n=12", "power of two"),
        ("erdos_renyi:n=9,p=1.5", "probability"),
        ("erdos_renyi:n=9,p=nan", "probability"),
        ("erdos_renyi:n=9,p=.5,seed=-1", "seed must be"),
        ("barabasi_albert:n=3,m=5", "m < n"),
        ("watts_strogatz:n=4,k=9,p=.5", "k>n"),
        ("random_regular:n=5,d=3", "n \\* d must be even"),
        ("complete:n=20000", "2e\\+08 edges"),
        ("chain:n=1000000", "1e\\+06 nodes"),
        ("nx.complete_graf:n=3", "did you mean nx.complete_graph"),
        ("nx._lexicographic:n=3", "no graph generator"),
        ("nx.read_gml:path=x", "no graph generator"),
        ("nx.py_random_state:random_state_argument=0", "no graph generator"),
        ("nx.complete_graph", "takes n; n is missing"),
        ("nx.complete_graph:n=3,create_using=DiGraph", "takes n, not create_using"),
        ("nx.complete_graph:n=3,backend=foo", "takes n, not backend"),
        ("nx.complete_graph:n=abc", "n must be a number"),
        ("nx.complete_graph:n=99999999", "at most 10000"),
        ("nx.complete_graph:n=1e999", "at most 10000"),
        ("nx.complete_graph:n=-3", "networkx refuses: Negative"),
        ("nx.complete_graph:n=2.5", "networkx refuses"),
        ("nx.null_graph", "at least 2 nodes, not 0"),
        ("nx.graph_atlas_g", "returns a list"),
        ("nx.gnp_random_graph:n=5,p=0.5,directed=True", "directed"),
        ("nx.margulis_gabber_galil_graph:n=3", "multigraph"),
        ("nx.chordal_cycle_graph:p=5", "multigraph"),
        ("nx.k_random_intersection_graph:n=4,m=4", "k is missing"),
        ("nx.empty_graph:n=-1", "networkx refuses|at least 2"),
    ],
)
def test_what_makes_no_graph_is_refused_with_the_reason(text, reason):
    with pytest.raises(InputError, match=reason) as refused:
        make(text)
    assert refused.value.field == "topology_file"
    assert "http" not in str(refused.value)


@pytest.mark.parametrize("name", ["read_edgelist", "node_link_graph", "Graph", "_raise_on_directed", "open"])
def test_only_public_generators_of_networkx_are_called(name):
    """Nothing that reads a file that the user names, for one."""
    with pytest.raises(InputError, match="networkx has no graph generator of that name"):
        make(f"nx.{name}:path=/etc/passwd")


def test_self_loops_are_refused():
    with pytest.raises(InputError, match="linked to itself"):
        Topology.from_networkx(nx.Graph([(0, 0), (0, 1)]), "looped")


@pytest.mark.parametrize("name", [name for name in GENERATORS if GENERATORS[name].takes])
def test_the_example_in_an_error_message_works(name):
    with pytest.raises(InputError) as refused:
        make(name)
    example = str(refused.value).partition("as in ")[2]
    assert make(example).source.startswith(name)
