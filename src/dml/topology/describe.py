"""The numbers by which topologies are compared: degrees, distances, mixing speed, communities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.topology.graph import Topology

SLOW_ABOVE = 5_000
"""Number of edges above which what takes minutes is left out."""


def describe(topology: Topology) -> dict[str, Any]:
    """The graph in plain numbers, fit for JSON. Link probabilities play no part.

    Returns:
        n, m: numbers of nodes and edges.
        degree: min, mean, max.
        betweenness: min, mean, max (see `Topology.betweenness`); None above 5,000 edges.
        components: their number.
        diameter: the largest distance in hops within each component, the largest component first.
        spectral_gap: see `spectral_gap`.
        modularity: see `modularity`.
    """
    diameters = component_diameters(topology)
    return {
        "n": topology.n,
        "m": topology.m,
        "degree": _spread(topology.degree),
        "betweenness": None if topology.m > SLOW_ABOVE else _spread(topology.betweenness),
        "components": len(diameters),
        "diameter": diameters,
        "spectral_gap": spectral_gap(topology),
        "modularity": modularity(topology),
    }


def component_diameters(topology: Topology) -> list[int]:
    """The largest distance in hops within each component, the largest component first; 0 for a lone node."""
    import networkx as nx

    graph = topology.graph()
    components = sorted(nx.connected_components(graph), key=lambda nodes: (-len(nodes), min(nodes)))
    return [int(nx.diameter(graph.subgraph(nodes), usebounds=True)) for nodes in components]


def metropolis_hastings(topology: Topology) -> NDArray[np.float64]:
    """The doubly stochastic matrix of averaging, [n, n].

    W_ij = 1 / (1 + max(d_i, d_j)) for an edge, W_ii = 1 - sum over j of W_ij, d = degree: Xiao, Boyd and
    Lall, "A scheme for robust distributed sensor fusion based on average consensus" (IPSN 2005).
    """
    W = np.zeros((topology.n, topology.n))
    i, j = topology.edges.T
    W[i, j] = W[j, i] = 1 / (1 + np.maximum(topology.degree[i], topology.degree[j]))
    np.fill_diagonal(W, 1 - W.sum(axis=1))
    return W


def spectral_gap(topology: Topology) -> float:
    """How fast averaging with Metropolis-Hastings weights mixes: 1 - |lambda_2|, in [0, 1].

    lambda_2 is the eigenvalue of `metropolis_hastings` of second largest modulus; each round shrinks the
    distance to the mean at least by that factor. 1 for the complete graph, 0 for a disconnected one.
    Dense: O(n^3).
    """
    moduli = np.sort(np.abs(np.linalg.eigvalsh(metropolis_hastings(topology))))
    return float(np.clip(1 - moduli[-2], 0, 1))


def modularity(topology: Topology) -> float | None:
    """Newman's modularity of the generator's blocks, else of networkx's greedy communities.

    None for a graph without edges, and above 5,000 edges where communities would have to be found.
    """
    if topology.m == 0 or (topology.blocks is None and topology.m > SLOW_ABOVE):
        return None
    import networkx as nx

    graph = topology.graph()
    if topology.blocks is None:
        communities = nx.community.greedy_modularity_communities(graph)
    else:
        communities = [set(np.flatnonzero(topology.blocks == b).tolist()) for b in np.unique(topology.blocks)]
    return float(nx.community.modularity(graph, communities, weight=None))


def _spread(values: NDArray[Any]) -> dict[str, Any]:
    return {"min": values.min().item(), "mean": float(values.mean()), "max": values.max().item()}
