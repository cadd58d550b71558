"""Transition matrices: their laws, and files that hold none."""

import numpy as np
import pytest

from dml.errors import InputError
from dml.topology import Topology, make
from dml.walks.transitions import matrix, parse

GRAPHS = ["star:n=9", "cycle:n=10", "complete:n=6", "erdos_renyi:n=20,p=0.3,seed=1"]


@pytest.mark.parametrize("text", GRAPHS)
@pytest.mark.parametrize("transition", ["mh", "lazy:0.25"])
def test_metropolis_hastings_is_stationary_under_the_uniform_law(text, transition):
    topology = make(text)
    P = matrix(topology, transition).toarray()
    assert np.abs(P.sum(1) - 1).max() < 1e-15
    assert np.array_equal(P, P.T)
    assert (P.diagonal() >= (0.25 if transition != "mh" else 0)).all()
    adjacent = np.zeros_like(P, bool)
    adjacent[tuple(topology.edges.T)] = True
    assert np.array_equal((P > 0) & ~np.eye(len(P), dtype=bool), adjacent | adjacent.T)


def test_a_neighbour_is_proposed_uniformly_and_accepted_by_the_ratio_of_degrees():
    """Of a star: every leaf is proposed by the hub and accepted; the hub by a leaf only with 1/(n - 1)."""
    P = matrix(make("star:n=5"), "mh").toarray()
    assert P[0] == pytest.approx([0, 0.25, 0.25, 0.25, 0.25])
    assert P[3] == pytest.approx([0.25, 0, 0, 0.75, 0])
    assert matrix(make("star:n=5"), "simple").toarray()[3] == pytest.approx([1, 0, 0, 0, 0])
    assert matrix(make("star:n=5"), "lazy:0.5").toarray()[3] == pytest.approx([0.125, 0, 0, 0.875, 0])


@pytest.mark.parametrize("text", GRAPHS)
def test_a_simple_walk_visits_nodes_in_proportion_to_their_degree(text):
    topology = make(text)
    P, law = matrix(topology, "simple").toarray(), topology.degree / topology.degree.sum()
    assert law @ P == pytest.approx(law, abs=1e-15)


def test_regular_graphs_never_reject():
    for text in ("cycle:n=20", "complete:n=20"):
        P = matrix(make(text), "mh")
        assert not P.diagonal().any()
        assert P.nnz == 2 * make(text).m


@pytest.mark.parametrize(
    ("text", "canonical"), [("mh", "mh"), ("lazy:.50", "lazy:0.5"), ("lazy:0", "mh"), ("a/b.npy", "a/b.npy")]
)
def test_one_law_has_one_name(text, canonical):
    assert parse(text) == canonical


@pytest.mark.parametrize(
    "text", ["mh:1", "lazy", "lazy:1", "lazy:-0.1", "lazy:nan", "lazy:1_0", "uniform", ""]
)
def test_what_is_no_transition_is_refused(text):
    with pytest.raises(ValueError, match="must be"):
        parse(text)


@pytest.fixture
def saved(tmp_path):
    def save(P, name="own.npy"):
        path = tmp_path / name
        np.save(path, P) if name.endswith(".npy") else np.savetxt(path, P, delimiter=",", fmt="%.17g")
        return str(path)

    return save


@pytest.mark.parametrize("name", ["own.npy", "own.csv"])
def test_a_matrix_is_read_from_a_file(saved, name):
    P = np.roll(np.eye(5), 1, axis=1) * 0.7 + np.eye(5) * 0.3
    assert np.array_equal(matrix(make("cycle:n=5"), saved(P, name)).toarray(), P)


RING = np.roll(np.eye(5), 1, axis=1)


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (RING * 0.9, "row 0 sums to 0.9; each row must sum to 1"),
        (np.roll(np.eye(5), 2, axis=1), r"entry \[0, 2\] is 1, but the graph has no edge 0-2"),
        (RING * 2 - np.eye(5), r"entry \[0, 0\] is -1; a probability is in \[0, 1\]"),
        (RING * np.nan, r"entry \[0, 0\] is nan"),
        (np.eye(5), "must lead from every node to every other one"),
        (np.eye(4), r"must be a matrix of 5 rows and columns, one per node, not of the shape \(4, 4\)"),
        (np.ones(5), "not of the shape"),
        (np.array(["a"]), "holds <U1, and no real numbers"),
        (np.array([None]), "holds no matrix of numbers"),
    ],
)
def test_other_matrices_are_refused(saved, P, message):
    with pytest.raises(InputError, match=message) as error:
        matrix(make("cycle:n=5"), saved(P))
    assert error.value.field == "transition"


def test_files_that_are_not_there_or_hold_no_numbers_are_refused(tmp_path):
    (tmp_path / "words.csv").write_text("a,b\n")
    (tmp_path / "ragged.csv").write_text("1,0\n1\n")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("none.npy", "words.csv", "ragged.csv", "empty.npy"):
        with pytest.raises(InputError, match=r"no such file|holds no matrix"):
            matrix(make("cycle:n=5"), str(tmp_path / name))


def test_a_graph_that_is_not_connected_is_refused():
    parts = Topology(4, [(0, 1), (2, 3)], np.ones(2), "parts")
    with pytest.raises(InputError, match="topology_file parts: is not connected"):
        matrix(parts, "mh")
