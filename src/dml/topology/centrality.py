"""Centralities of the nodes of a graph, besides degree and betweenness: one score per node.

Each equals networkx's centrality of that name; link probabilities are ignored. Scores that would grow with
the graph are divided by n - 1, as the degree is. To add a centrality, write a function and a line of
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
"""The score of each node, as networkx returns them."""

Centrality = Callable[["nx.Graph"], Scores]

DENSE = 2048
"""The most nodes for which eigenvector and katz use a dense matrix; a sparse one agrees to rounding."""

PRECISE = 1e-14
"""Tolerance of pagerank's iteration, far below any difference that matters to a softmax."""


def closeness_centrality(graph: "nx.Graph") -> Scores:
    """(r/(n - 1)) r / (sum of the distances to the r reachable nodes); 0 for an isolated node."""
    import networkx as nx

    return nx.closeness_centrality(graph)  # type: ignore[no-any-return]


def harmonic_sum(graph: "nx.Graph") -> Scores:
    """The sum of 1/distance over the other nodes; an unreachable node adds 0."""
    import networkx as nx

    return nx.harmonic_centrality(graph)  # type: ignore[no-any-return]


def harmonic_centrality(graph: "nx.Graph") -> Scores:
    """The mean of 1/distance over the other nodes; an unreachable node counts as 0."""
    return {i: c / (len(graph) - 1) for i, c in harmonic_sum(graph).items()}


def load_centrality(graph: "nx.Graph") -> Scores:
    """The share of all shortest paths that pass through a node, end points excluded.

    Where shortest paths fork, each branch counts equally.
    """
    import networkx as nx

    return nx.load_centrality(graph)  # type: ignore[no-any-return]


def pagerank(graph: "nx.Graph", tolerance: float = PRECISE) -> Scores:
    """The share of its time that a random walk spends at a node; it restarts with probability 0.15 per step.

    Args:
        graph: the graph.
        tolerance: the iteration stops when the summed change of all scores is below n times this value.
    """
    import networkx as nx

    # Each iteration shrinks the error to 0.85 of it, and 0.85^200 is below the default tolerance.
    return nx.pagerank(graph, tol=tolerance, max_iter=1000)  # type: ignore[no-any-return]


def eigenvector_centrality(graph: "nx.Graph") -> Scores:
    """The unit eigenvector of the adjacency matrix for its largest eigenvalue.

    It is not defined on a disconnected graph, where it is not unique or is 0 outside one component.
    """
    if len(graph) > DENSE:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        # A fixed v0 makes the result repeatable. On a very long chain the iteration does not converge.
        with contextlib.suppress(ArpackNoConvergence):
            vectors = eigsh(_sparse(graph), 1, which="LA", v0=np.ones(len(graph)))[1]
            return dict(enumerate(np.abs(vectors[:, 0])))
    # networkx has two functions for this: one starts from random numbers, one stops early on a long chain.
    return dict(enumerate(np.abs(np.linalg.eigh(_adjacency(graph))[1][:, -1])))


def katz_centrality(graph: "nx.Graph") -> Scores:
    """x = (I - a A)^-1 1, scaled to length 1: the walks that end at a node, weighted by a^length.

    With a = 1/(1 + largest degree) the sum over all lengths converges on every graph. networkx's default of
    0.1 fails if the largest eigenvalue of A is 10 or more.
    """
    if len(graph) > DENSE:
        return dict(enumerate(_sparse_katz(_sparse(graph))))
    A = _adjacency(graph)
    x = np.linalg.solve(np.eye(len(A)) - A / (1 + A.sum(0).max()), np.ones(len(A)))
    return dict(enumerate(x / np.linalg.norm(x)))


def core_number(graph: "nx.Graph") -> Scores:
    """The largest k for which the node belongs to a subgraph of minimum degree k, divided by n - 1."""
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
"""Centralities that are defined on connected graphs only."""


def check_centrality(topology: Topology, name: str, field: str = "centrality") -> None:
    """Refuses a centrality that is not defined on the graph.

    Args:
        topology: the graph.
        name: a key of ``CENTRALITIES``.
        field: the configuration field that asks for it, for the message.

    Raises:
        InputError: the centrality is not defined on the graph.
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
        InputError: the centrality is not defined on the graph.
    """
    check_centrality(topology, name)
    result = scores(topology, CENTRALITIES[name])
    result.flags.writeable = False
    return result


def scores(topology: Topology, function: Centrality) -> NDArray[np.float64]:
    """The score of each node by a function of networkx graphs, [n]; link probabilities are ignored."""
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

    # The matrix is positive definite: with d the largest degree, its eigenvalues lie in [1/(1 + d), 2].
    x, failed = cg(eye_array(A.shape[0]) - A / (1 + A.sum(axis=0).max()), np.ones(A.shape[0]), rtol=1e-14)
    if failed:
        raise RuntimeError(f"katz centrality has not converged in {failed} steps")
    result: NDArray[np.float64] = x / np.linalg.norm(x)
    return result
