"""What the eigenvalues of an averaging matrix say about the algorithms that use it.

All matrices here are dense, and all functions take O(n^3).
"""

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.topology.averaging import averaging
from dml.topology.graph import Topology

Matrix = NDArray[np.float64]

D2_LIMIT = -1 / 3
"""D2 converges where lambda_min(W) is above this (Tang et al. 2018)."""

ROUNDING = 1e-9
"""An eigenvalue this close to a limit is on it."""


def lambda_min(W: Matrix) -> float:
    """The least eigenvalue of a symmetric W."""
    return float(np.linalg.eigvalsh(W)[0])


def d2_edge_weight(topology: Topology) -> float:
    """The weight of every edge below which D2 converges; lambda_min(I - w L) = 1 - w mu_max(L)."""
    w = 1 / (1 + int(topology.degree.max()))
    return (1 - D2_LIMIT) * w / (1 - lambda_min(averaging(topology, w).toarray()))


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


def spectral_gap(W: Matrix) -> float:
    """How fast averaging by a symmetric W mixes: 1 - |lambda_2|, in [0, 1].

    lambda_2 is the eigenvalue of the second largest modulus; each round shrinks the distance to the mean at
    least by that factor. The gap is 1 for Metropolis-Hastings weights on the complete graph, and 0 on a graph
    that is not connected.
    """
    moduli = np.sort(np.abs(np.linalg.eigvalsh(W)))
    return float(np.clip(1 - moduli[-2], 0, 1))
