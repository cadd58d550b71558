"""Centralities of the nodes of a graph, beyond degree and betweenness: one score per node.

Each is networkx's centrality of that name, on the graph without its link probabilities. Scores that would
grow with the graph are divided by n - 1, as the degree is. A new centrality is one function and one line of
``CENTRALITIES``.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.topology.graph import Topology

if TYPE_CHECKING:
    import networkx as nx
    from scipy.sparse import csr_array

Scores = Mapping[int, float]
"""A score for each node, as networkx returns them."""

Centrality = Callable[["nx.Graph"], Scores]

DENSE = 2048
"""The most nodes for which eigenvector and katz take a dense matrix; the results agree to rounding."""

PRECISE = 1e-14
"""Tolerance of the iteration of pagerank, far below the differences that a softmax sees."""


def closeness_centrality(graph: "nx.Graph") -> Scores:
    """(r/(n - 1)) r / (sum of the distances to the r nodes that can be reached); 0 for an isolated node."""
    import networkx as nx

    return nx.closeness_centrality(graph)  # type: ignore[no-any-return]


def harmonic_sum(graph: "nx.Graph") -> Scores:
    """Sum over the other nodes of 1/distance; a node that cannot be reached adds 0."""
    import networkx as nx

    return nx.harmonic_centrality(graph)  # type: ignore[no-any-return]


def harmonic_centrality(graph: "nx.Graph") -> Scores:
    """Mean over the other nodes of 1/distance; a node that cannot be reached counts as 0."""
    return {i: c / (len(graph) - 1) for i, c in harmonic_sum(graph).items()}


def load_centrality(graph: "nx.Graph") -> Scores:
    """Share of all shortest paths through a node, split evenly at each fork, without the end points."""
    import networkx as nx

    return nx.load_centrality(graph)  # type: ignore[no-any-return]


def pagerank(graph: "nx.Graph", tolerance: float = PRECISE) -> Scores:
    """Share of its time that a random walk spends at a node; it restarts with probability 0.15 per step.

    Args:
        graph: the graph.
        tolerance: the iteration stops when the scores of all nodes together change by less than n times this.
    """
    import networkx as nx

    # An iteration brings a factor of 0.85, and 0.85^200 is below the default tolerance.
    return nx.pagerank(graph, tol=tolerance, max_iter=1000)  # type: ignore[no-any-return]


def eigenvector_centrality(graph: "nx.Graph") -> Scores:
    """The eigenvector of the adjacency matrix for its largest eigenvalue, of length 1.

    It does not exist on a disconnected graph, where it is not unique or is 0 on all components but one.
    """
    if len(graph) > DENSE:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        # The start holds no random numbers. On a very long chain the iteration does not converge.
        with contextlib.suppress(ArpackNoConvergence):
            vectors = eigsh(_sparse(graph), 1, which="LA", v0=np.ones(len(graph)))[1]
            return dict(enumerate(np.abs(vectors[:, 0])))
    # One of networkx's two functions starts from random numbers; the other stops early on a long chain.
    return dict(enumerate(np.abs(np.linalg.eigh(_adjacency(graph))[1][:, -1])))


def katz_centrality(graph: "nx.Graph") -> Scores:
    """x = (I - a A)^-1 1, scaled to length 1: the number of walks of length k to a node, weighted by a^k.

    With a = 1/(1 + largest degree) the sum over k exists on every graph. networkx's default of 0.1 fails if
    the largest eigenvalue of A is 10 or more.
    """
    if len(graph) > DENSE:
        return dict(enumerate(_sparse_katz(_sparse(graph))))
    A = _adjacency(graph)
    x = np.linalg.solve(np.eye(len(A)) - A / (1 + A.sum(0).max()), np.ones(len(A)))
    return dict(enumerate(x / np.linalg.norm(x)))


def core_number(graph: "nx.Graph") -> Scores:
    """The largest k such that the node belongs to a subgraph of minimum degree k, over n - 1."""
    import networkx as nx

    return {i: k / (len(graph) - 1) for i, k in nx.core_number(graph).items()}


CENTRALITIES: dict[str, Centrality] = {
    "closeness": closeness_centrality,
    "harmonic": harmonic_centrality,
    "load": load_centrality,
    "pagerank": pagerank,
    "eigenvector": eigenvector_centrality,
    "katz": katz_centrality,
    "k_core": core_number,
}
ON_CONNECTED = frozenset({"eigenvector"})
"""Centralities that exist on connected graphs only."""


def check_centrality(topology: Topology, name: str, field: str = "centrality") -> None:
    """Refuses a centrality that does not exist on the graph.

    Args:
        topology: the graph.
        name: a key of ``CENTRALITIES``.
        field: the field that named it, for the message.

    Raises:
        InputError: the centrality does not exist on the graph.
    """
    cut_off = np.flatnonzero(topology.distance_to([0]) < 0)
    if name in ON_CONNECTED and len(cut_off):
        raise InputError(
            field,
            name,
            f"is not defined on a disconnected graph, and in {topology.source} no path leads from node 0 to "
            f"node {cut_off[0]}; closeness, harmonic, katz and pagerank are",
        )


@lru_cache(maxsize=32)
def centrality(topology: Topology, name: str) -> NDArray[np.float64]:
    """The scores of all nodes, [n], read-only; they are computed once per graph.

    Args:
        topology: the graph.
        name: a key of ``CENTRALITIES``.

    Raises:
        InputError: the centrality does not exist on the graph.
    """
    check_centrality(topology, name)
    result = scores(topology, CENTRALITIES[name])
    result.flags.writeable = False
    return result


def scores(topology: Topology, function: Centrality) -> NDArray[np.float64]:
    """What a function of networkx's graphs gives each node, [n]; link probabilities play no part."""
    import networkx as nx

    graph = nx.empty_graph(topology.n)
    graph.add_edges_from(topology.edges.tolist())
    found = function(graph)
    return np.array([found[node] for node in range(topology.n)], dtype=np.float64)


def _adjacency(graph: "nx.Graph") -> NDArray[np.float64]:
    import networkx as nx

    A: NDArray[np.float64] = nx.to_numpy_array(graph, nodelist=range(len(graph)))
    return A


def _sparse(graph: "nx.Graph") -> "csr_array":
    import networkx as nx

    return nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)), dtype=np.float64)


def _sparse_katz(A: "csr_array") -> NDArray[np.float64]:
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import cg

    # Positive definite: its eigenvalues lie between 1/(1 + d) and 2, where d is the largest degree.
    x, failed = cg(eye_array(A.shape[0]) - A / (1 + A.sum(axis=0).max()), np.ones(A.shape[0]), rtol=1e-14)
    if failed:
        raise RuntimeError(f"katz centrality has not converged in {failed} steps")
    result: NDArray[np.float64] = x / np.linalg.norm(x)
    return result
