"""Properties of algorithms that follow from the eigenvalues of their averaging matrix W.

All matrices here are dense, and all functions take O(n^3) time.
"""

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.topology.averaging import averaging
from dml.topology.graph import Topology

Matrix = NDArray[np.float64]

D2_LIMIT = -1 / 3
"""D2 converges if lambda_min(W) is above this (Tang et al. 2018)."""

ROUNDING = 1e-9
"""Eigenvalues that differ from a limit by less than this count as equal to it."""


def lambda_min(W: Matrix) -> float:
    """The smallest eigenvalue of a symmetric W."""
    return float(np.linalg.eigvalsh(W)[0])


def d2_edge_weight(topology: Topology) -> float:
    """D2 converges if all edges have the same weight below this one.

    With the graph's Laplacian L, lambda_min(I - w L) = 1 - w mu_max(L).
    """
    w = 1 / (1 + int(topology.degree.max()))
    return (1 - D2_LIMIT) * w / (1 - lambda_min(averaging(topology, w).toarray()))


def admits_d2(W: Matrix) -> bool:
    """Whether D2 converges with a symmetric W: lambda_min(W) > -1/3, by more than rounding."""
    return lambda_min(W) > D2_LIMIT + ROUNDING


def effective_neighbours(W: Matrix, decay: float) -> float:
    """n_W(g): the effective number of nodes among which averaging shares information in 1 / (1 - g) rounds.

    In the random walk x <- W (sqrt(g) x + noise) with unit noise, averaging lowers the variance by the factor
    n_W = 1 / ((1 - g) mean_i var x_i). For a symmetric W with eigenvalues l_k this is
    1 / ((1 - g) mean_k [l_k^2 / (1 - g l_k^2)]); otherwise var x is the diagonal of the fixed point of
    V = W (g V + I) W^T (Vogels, Hendrikx, Jaggi, NeurIPS 2022, arXiv 2206.03093).

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
    """The mean squared distance of D-PSGD's models to their mean, divided by lr^2 zeta^2, for small lr.

    At the fixed point X = W (X - lr G), so X - mean = -lr (I - W)^+ W G, where G holds the nodes' gradients
    at the optimum: they sum to 0, and their mean square is zeta^2. If the gradients are assigned to the nodes
    at random, the expected value is, for a symmetric W with eigenvalues l_k,

        1/(n - 1) sum over k > 1 of ( l_k / (1 - l_k) )^2

    Returns:
        This value; None on a disconnected graph, whose components have optima of their own.
    """
    values = np.linalg.eigvalsh(W)[:-1]
    if values[-1] > 1 - ROUNDING:
        return None
    return float(np.sum((values / (1 - values)) ** 2) / len(values))


def spectral_gap(W: Matrix) -> float:
    """The spectral gap of a symmetric W, 1 - |lambda_2|, in [0, 1]: how fast averaging mixes.

    lambda_2 is the eigenvalue of second largest modulus; each round multiplies the distance to the mean by at
    most |lambda_2|. The gap is 1 for Metropolis-Hastings weights on the complete graph, and 0 on a
    disconnected graph.
    """
    moduli = np.sort(np.abs(np.linalg.eigvalsh(W)))
    return float(np.clip(1 - moduli[-2], 0, 1))
