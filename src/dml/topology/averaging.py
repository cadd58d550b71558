"""Matrices W with which nodes average with their neighbours; all are symmetric and doubly stochastic."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.topology.graph import Topology

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def metropolis_hastings(n: int, i: NDArray[np.integer], j: NDArray[np.integer]) -> "csr_array":
    """W_ij = 1 / (1 + max(d_i, d_j)) for neighbours, and W_ii = 1 - sum over j of W_ij, [n, n].

    d_i is the number of neighbours of node i. See Xiao, Boyd and Lall, "A scheme for robust distributed
    sensor fusion based on average consensus" (IPSN 2005).

    Args:
        n: the number of nodes.
        i, j: the two nodes of each pair of neighbours, [k]; each pair is listed in both orders.
    """
    d = np.bincount(i, minlength=n)
    return _with_diagonal(n, 1 / (1 + np.maximum(d[i], d[j])), i, j)


def averaging(topology: Topology, edge_weight: float | None = None) -> "csr_array":
    """The matrix W of a graph, [n, n]: Metropolis-Hastings weights, or the same weight for every edge.

    Args:
        topology: the graph.
        edge_weight: W_ij of every edge, so that W_ii = 1 - d_i ``edge_weight``; None for Metropolis-Hastings.

    Raises:
        InputError: the weight is not positive, or it makes W_ii negative for some node.
    """
    i, j = np.concatenate([topology.edges, topology.edges[:, ::-1]]).T
    if edge_weight is None:
        return metropolis_hastings(topology.n, i, j)
    largest = 1 / max(1, int(topology.degree.max()))
    if not 0 < edge_weight <= largest:
        right = f"must be above 0 and at most 1/{topology.degree.max()}, one over the largest degree"
        raise InputError("edge_weight", edge_weight, right)
    return _with_diagonal(topology.n, np.full(len(i), edge_weight), i, j)


def _with_diagonal(
    n: int, weights: NDArray[np.float64], i: NDArray[np.integer], j: NDArray[np.integer]
) -> "csr_array":
    """The matrix with these weights off the diagonal, and a diagonal that makes each row sum to 1."""
    from scipy.sparse import csr_array, diags_array

    W = csr_array((weights, (i, j)), shape=(n, n))
    return (W + diags_array(1 - W.sum(axis=1))).tocsr()
