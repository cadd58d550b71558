"""Matrices of averaging on a graph, and what their eigenvalues say of the algorithms that use them.

Dense: O(n^3).
"""

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.topology.describe import metropolis_hastings
from dml.topology.graph import Topology

Matrix = NDArray[np.float64]

D2_LIMIT = -1 / 3
"""D2 converges where lambda_min(W) is above this (Tang et al. 2018)."""

ROUNDING = 1e-9
"""An eigenvalue this close to a limit is on it."""


def averaging(topology: Topology, edge_weight: float | None = None) -> Matrix:
    """W, [n, n]: symmetric, doubly stochastic.

    Metropolis-Hastings weights, or W_ij = ``edge_weight`` on every edge and W_ii = 1 - d_i ``edge_weight``.

    Raises:
        InputError: the weight is not positive, or leaves a node a negative weight of its own.
    """
    if edge_weight is None:
        return metropolis_hastings(topology)
    largest = 1 / max(1, int(topology.degree.max()))
    if not 0 < edge_weight <= largest:
        right = f"must be above 0 and at most 1/{topology.degree.max()}, one over the largest degree"
        raise InputError("edge_weight", edge_weight, right)
    W = np.zeros((topology.n, topology.n))
    i, j = topology.edges.T
    W[i, j] = W[j, i] = edge_weight
    np.fill_diagonal(W, 1 - W.sum(axis=1))
    return W


def lambda_min(W: Matrix) -> float:
    """The least eigenvalue of a symmetric W."""
    return float(np.linalg.eigvalsh(W)[0])


def d2_edge_weight(topology: Topology) -> float:
    """The weight of every edge below which D2 converges; lambda_min(I - w L) = 1 - w mu_max(L)."""
    w = 1 / (1 + int(topology.degree.max()))
    return (1 - D2_LIMIT) * w / (1 - lambda_min(averaging(topology, w)))


def admits_d2(W: Matrix) -> bool:
    """Whether D2 converges with a symmetric W: lambda_min(W) > -1/3, by more than rounding."""
    return lambda_min(W) > D2_LIMIT + ROUNDING


def effective_neighbours(W: Matrix, decay: float) -> float:
    """n_W(g): among how many nodes averaging shares what happens within 1 / (1 - g) rounds.

    In the random walk x <- W (sqrt(g) x + noise), of unit noise, n_W = 1 / ((1 - g) mean_i var x_i): by so
    much averaging lowers the variance. For symmetric W it is 1 / ((1 - g) mean_k [l_k^2 / (1 - g l_k^2)])
    over its eigenvalues l_k; else var x is the fixed point of V = W (g V + I) W^T (Vogels, Hendrikx, Jaggi,
    NeurIPS 2022, arXiv 2206.03093).

    Args:
        W: row-stochastic, [n, n].
        decay: g, in [0, 1).
    """
    if not 0 <= decay < 1:
        raise InputError("decay", decay, "must be at least 0 and below 1")
    if np.allclose(W, W.T, atol=1e-12):
        squares = np.linalg.eigvalsh(W) ** 2
        variance = np.mean(squares / (1 - decay * squares))
    else:
        from scipy.linalg import solve_discrete_lyapunov

        variance = np.trace(solve_discrete_lyapunov(np.sqrt(decay) * W, W @ W.T)) / len(W)
    return float(1 / ((1 - decay) * variance))


def dpsgd_spread(W: Matrix) -> float | None:
    """The mean squared distance of D-PSGD's models to their mean, over lr^2 zeta^2, at a small lr.

    At rest X = W (X - lr G), so X - mean = -lr (I - W)^+ W G, where G are the nodes' gradients at the
    optimum: they sum to 0, and their mean square is zeta^2. With G at random over the nodes the mean is

        1/(n - 1) sum over k > 1 of ( l_k / (1 - l_k) )^2

    for a symmetric W; None on a disconnected graph, whose parts have optima of their own.
    """
    values = np.linalg.eigvalsh(W)[:-1]
    if values[-1] > 1 - ROUNDING:
        return None
    return float(np.sum((values / (1 - values)) ** 2) / len(values))
