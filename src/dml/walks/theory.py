"""How long walks take to return, and how fast they and pairwise gossip mix; exact, by linear algebra.

All matrices here are dense, and all functions take O(n^3) time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml.topology import Topology

Matrix = NDArray[np.float64]

ROUNDING = 1e-12
"""A modulus that differs from 1 by less than this counts as 1."""


class ReturnTime(NamedTuple):
    """How many steps a walk takes from a node back to it.

    Attributes:
        mean: E[T].
        square: E[T^2].
    """

    mean: float
    square: float


def return_time(P: Matrix, node: int) -> ReturnTime:
    """The first two moments of the time T in which a walk returns to a node.

    Let Q be P without the node's row and column, and r the rest of its row. The times from the other nodes to
    this one have the mean h = (I - Q)^-1 1 and the mean square s = (I - Q)^-1 (1 + 2 Q h), so that

        E[T] = 1 + r h,    E[T^2] = 1 + 2 r h + r s

    If all nodes are equally likely in the long run, E[T] = n. E[T^2] tells graphs apart.

    Args:
        P: transition matrix that leads from every node to every other one, [n, n].
        node: the node.
    """
    others = np.arange(len(P)) != node
    Q, r = P[np.ix_(others, others)], P[node, others]
    one = np.ones(len(Q))
    h = np.linalg.solve(np.eye(len(Q)) - Q, one)
    s = np.linalg.solve(np.eye(len(Q)) - Q, one + 2 * Q @ h)
    return ReturnTime(float(1 + r @ h), float(1 + 2 * r @ h + r @ s))


def second_modulus(P: Matrix) -> float:
    """The second largest modulus among the eigenvalues of a transition matrix, in [0, 1].

    The law of a walk's node comes closer to its limit by this factor per step. At 1 it does not: the walk is
    periodic, as with mh on an even cycle.
    """
    values = np.linalg.eigvalsh(P) if np.array_equal(P, P.T) else np.linalg.eigvals(P)
    modulus = float(np.sort(np.abs(values))[-2])
    return 1.0 if modulus > 1 - ROUNDING else modulus


def gossip_gap(topology: Topology) -> float:
    """The share by which one pairwise average over a uniform edge shrinks the variance, in expectation.

    An average of the nodes of edge e is the projection I - b_e b_e^T / 2 with b_e = e_i - e_j. With the
    graph's Laplacian L, the mean over the edges is I - L / (2 m), so that for vectors x without mean

        E ||x'||^2 <= (1 - gap) ||x||^2    with    gap = mu_2(L) / (2 m)

    with equality for the eigenvector of mu_2. See Boyd, Ghosh, Prabhakar and Shah, "Randomized gossip
    algorithms" (IEEE Transactions on Information Theory, 2006).
    """
    L = np.diag(topology.degree.astype(np.float64))
    i, j = topology.edges.T
    L[i, j] = L[j, i] = -1
    return float(max(0.0, np.linalg.eigvalsh(L)[1]) / (2 * topology.m)) if topology.m else 0.0
