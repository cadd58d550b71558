"""Centralities beyond the published degree and betweenness: one score a node, of the graph alone.

Each is networkx's by that name, on the graph without its link probabilities. Where a scale would grow with
the graph it is divided by n - 1, as the degree is. A new one is one function and one line of
``CENTRALITIES``.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError

if TYPE_CHECKING:
    import networkx as nx
    from scipy.sparse import csr_array

    from dml.topology import Topology

Scores = Mapping[int, float]

DENSE = 2048
"""Nodes up to which eigenvector and katz take the adjacency matrix with its zeros; the same to rounding."""


def closeness(graph: "nx.Graph") -> Scores:
    """(r/(n - 1)) r / sum of the distances to the r nodes that can be reached; 0 for a node alone."""
    import networkx as nx

    return nx.closeness_centrality(graph)  # type: ignore[no-any-return]


def harmonic(graph: "nx.Graph") -> Scores:
    """Mean over the other nodes of 1/distance, 0 for one that cannot be reached."""
    import networkx as nx

    return {i: c / (len(graph) - 1) for i, c in nx.harmonic_centrality(graph).items()}


def load(graph: "nx.Graph") -> Scores:
    """Share of all shortest paths through a node, split evenly at each fork, end points not counted."""
    import networkx as nx

    return nx.load_centrality(graph)  # type: ignore[no-any-return]


def pagerank(graph: "nx.Graph") -> Scores:
    """Share of the time that a walk spends there which starts anew with probability 0.15 at each step."""
    import networkx as nx

    # Far below the differences that a softmax sees; 0.85^200 is below it.
    return nx.pagerank(graph, tol=1e-14, max_iter=1000)  # type: ignore[no-any-return]


def eigenvector(graph: "nx.Graph") -> Scores:
    """The eigenvector of the adjacency matrix to its largest eigenvalue, of length 1.

    On a graph that is not connected it is not unique, or 0 on all parts but one: it does not exist.
    """
    if len(graph) > DENSE:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        # From a start without random numbers. On a very long chain it does not get there.
        with contextlib.suppress(ArpackNoConvergence):
            vectors = eigsh(_sparse(graph), 1, which="LA", v0=np.ones(len(graph)))[1]
            return dict(enumerate(np.abs(vectors[:, 0])))
    # Of networkx's own two one starts from random numbers, and one stops early on a long chain.
    return dict(enumerate(np.abs(np.linalg.eigh(_adjacency(graph))[1][:, -1])))


def katz(graph: "nx.Graph") -> Scores:
    """x = (I - a A)^-1 1, of length 1: the walks of each length k to a node, weighted a^k.

    With a = 1/(1 + largest degree) the sum exists on every graph; networkx's own 0.1 fails where the
    largest eigenvalue of A is 10 or more.
    """
    if len(graph) > DENSE:
        return dict(enumerate(_sparse_katz(_sparse(graph))))
    A = _adjacency(graph)
    x = np.linalg.solve(np.eye(len(A)) - A / (1 + A.sum(0).max()), np.ones(len(A)))
    return dict(enumerate(x / np.linalg.norm(x)))


def k_core(graph: "nx.Graph") -> Scores:
    """The largest k such that the node has k neighbours that have k such neighbours .., over n - 1."""
    import networkx as nx

    return {i: k / (len(graph) - 1) for i, k in nx.core_number(graph).items()}


CENTRALITIES: dict[str, Callable[["nx.Graph"], Scores]] = {
    "closeness": closeness,
    "harmonic": harmonic,
    "load": load,
    "pagerank": pagerank,
    "eigenvector": eigenvector,
    "katz": katz,
    "k_core": k_core,
}
ON_CONNECTED = frozenset({"eigenvector"})
"""Those that exist on connected graphs alone."""


def check(topology: "Topology", name: str) -> None:
    """Raises InputError if the centrality does not exist on the graph."""
    cut_off = np.flatnonzero(topology.distance_to([0]) < 0)
    if name in ON_CONNECTED and len(cut_off):
        raise InputError(
            "aggregation_strategy",
            name,
            f"is not defined on a graph that is not connected, and in {topology.source} no path leads from "
            f"node 0 to node {cut_off[0]}; closeness, harmonic, katz and pagerank are",
        )


@lru_cache(maxsize=32)
def centrality(topology: "Topology", name: str) -> NDArray[np.float64]:
    """The scores of all nodes, [n], read-only; computed once for a graph.

    Raises:
        InputError: the centrality does not exist on the graph.
    """
    import networkx as nx

    check(topology, name)
    graph = nx.empty_graph(topology.n)
    graph.add_edges_from(topology.edges.tolist())
    found = CENTRALITIES[name](graph)
    scores = np.array([found[node] for node in range(topology.n)], dtype=np.float64)
    scores.flags.writeable = False
    return scores


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

    # Positive definite, with eigenvalues between 1/(1 + d) and 2, d the largest degree.
    x, failed = cg(eye_array(A.shape[0]) - A / (1 + A.sum(axis=0).max()), np.ones(A.shape[0]), rtol=1e-14)
    if failed:
        raise RuntimeError(f"katz centrality has not converged in {failed} steps")
    result: NDArray[np.float64] = x / np.linalg.norm(x)
    return result
