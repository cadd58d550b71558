"""Transition matrices of walks: P_ij is the probability that a walk goes from node i to node j.

    mh        P_ij = 1/d_i min(1, d_i/d_j), the rest of each row stays: Metropolis-Hastings, which makes all
              nodes equally likely in the long run
    simple    P_ij = 1/d_i: nodes are visited in proportion to their degree
    lazy:p    stays with probability p, otherwise moves as mh

d_i is the number of neighbours of node i. A matrix of one's own is read from a file.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml.errors import InputError, one_line
from dml.files import read_bytes
from dml.plain_numbers import odd_number
from dml.topology import Topology
from dml.walks import matrix_file

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CHOICES = "mh, simple, lazy:P (stay with probability P, otherwise mh), or a matrix in a file (.npy, .csv)"

MH, SIMPLE, LAZY = "mh", "simple", "lazy"


def parse(text: str) -> str:
    """The canonical form of what a user typed: ``lazy:.50`` is ``lazy:0.5``, and ``lazy:0`` is ``mh``.

    Raises:
        ValueError: it is no transition, in words; files are not opened.
    """
    kind, colon, share = text.partition(":")
    if text in (MH, SIMPLE) or text.endswith(matrix_file.ENDINGS):
        return text
    if kind != LAZY or not colon:
        raise ValueError(f"must be {CHOICES}")
    try:
        p = float(share)
    except ValueError:
        p = -1.0
    if not 0 <= p < 1 or odd_number(share):
        raise ValueError(
            f"the P of lazy:P must be at least 0 and below 1, not {one_line(share) or 'nothing'}"
        )
    return f"{LAZY}:{p:g}" if p else MH


def matrix(topology: Topology, text: str) -> "csr_array":
    """The transition matrix that a text names, [n, n] with sorted indices and without zeros.

    Args:
        topology: the graph.
        text: as :func:`parse` admits it.

    Raises:
        InputError: the text or the file is wrong, the graph is not connected, or the matrix is not one of
            this graph, or does not lead from every node to every other one.
    """
    from scipy.sparse.csgraph import connected_components

    if (topology.distance_to([0]) < 0).any():
        raise InputError("topology_file", topology.source, "is not connected, so no walk reaches every node")
    try:
        kind, _, share = parse(text).partition(":")
    except ValueError as error:
        raise InputError("transition", text, str(error)) from None
    if kind == MH:
        return metropolis_hastings(topology)
    if kind == SIMPLE:
        return simple(topology)
    if kind == LAZY:
        return metropolis_hastings(topology, float(share))
    P = matrix_file.load(topology, text)
    if connected_components(P, directed=True, connection="strong", return_labels=False) > 1:
        right = "must lead from every node to every other one, in one or more moves"
        raise InputError("transition", text, right)
    return P


def stands_for(text: str) -> dict[str, str]:
    """What stands in an id for a matrix in a file, by the name of the field: a hash of the file's content.

    Nothing for other transitions, and for a file that cannot be read, which :func:`matrix` refuses.
    """
    if not text.endswith(matrix_file.ENDINGS):
        return {}
    try:
        content = read_bytes(Path(text).expanduser(), matrix_file.MAX_BYTES)
    except OSError:
        return {}
    return {"transition": hashlib.sha256(content).hexdigest()}


def metropolis_hastings(topology: Topology, stay: float = 0.0) -> "csr_array":
    """Proposes a neighbour j uniformly, and moves there with probability min(1, d_i/d_j), [n, n].

    It is symmetric, so every node is visited equally often in the long run.

    Args:
        topology: the graph.
        stay: the probability of not moving before anything is proposed, p of lazy:p.
    """
    i, j = _directed(topology)
    d = topology.degree
    return _rows(topology.n, i, j, (1 - stay) / np.maximum(d[i], d[j]))


def simple(topology: Topology) -> "csr_array":
    """Moves to any neighbour with the same probability, [n, n]."""
    i, j = _directed(topology)
    return _rows(topology.n, i, j, 1 / topology.degree[i])


def _directed(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.concatenate([topology.edges, topology.edges[:, ::-1]]).T
    return i, j


def _rows(n: int, i: np.ndarray, j: np.ndarray, moves: np.ndarray) -> "csr_array":
    """The matrix of these moves; what a row lacks to 1 stays. A remainder of rounding does not count."""
    from scipy.sparse import csr_array

    stays = 1 - np.bincount(i, moves, minlength=n)
    k = np.flatnonzero(stays > matrix_file.ROUNDING)
    entries = np.concatenate([moves, stays[k]]), (np.concatenate([i, k]), np.concatenate([j, k]))
    return csr_array(entries, shape=(n, n))
