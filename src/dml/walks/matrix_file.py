"""Reads a transition matrix from a file: ``.npy``, or ``.csv`` with n rows of n numbers."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.files import read_bytes
from dml.topology import Topology

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ENDINGS = (".npy", ".csv")

MAX_BYTES = 1_000_000_000
"""Size of the largest file that is read: 11,000 nodes in a ``.npy`` file."""

ROUNDING = 1e-9
"""By how much the sum of a row may differ from 1."""


def load(topology: Topology, path: str) -> "csr_array":
    """The matrix in a file, [n, n]: entries in [0, 1], rows that sum to 1, and 0 where there is no edge.

    The diagonal may be anything: a walk may stay where it is.

    Raises:
        InputError: the file cannot be read or holds no such matrix; the message names the first wrong entry.
    """
    from scipy.sparse import csr_array

    P = _read(path)
    n = topology.n
    if P.shape != (n, n):
        _refuse(path, f"must be a matrix of {n} rows and columns, one per node, not of the shape {P.shape}")
    edge = np.eye(n, dtype=bool)
    edge[tuple(np.concatenate([topology.edges, topology.edges[:, ::-1]]).T)] = True
    checks = {
        "is {p:g}; a probability is in [0, 1]": ~((P >= 0) & (P <= 1)),
        "is {p:g}, but the graph has no edge {i}-{j}": (P != 0) & ~edge,
    }
    for right, wrong in checks.items():
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            _refuse(path, f"entry [{i}, {j}] " + right.format(p=P[i, j], i=i, j=j))
    off = np.flatnonzero(np.abs(P.sum(axis=1) - 1) > ROUNDING)
    if len(off):
        _refuse(path, f"row {off[0]} sums to {P[off[0]].sum():.12g}; each row must sum to 1")
    return csr_array(P)


def _read(path: str) -> NDArray[np.float64]:
    try:
        content = read_bytes(Path(path).expanduser(), MAX_BYTES)
    except FileNotFoundError:
        _refuse(path, "no such file")
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}")
    try:
        if path.endswith(".npy"):
            found = np.load(io.BytesIO(content), allow_pickle=False)
            if found.dtype.kind not in "fiu":
                _refuse(path, f"holds {found.dtype}, and no real numbers")
            return np.asarray(found, np.float64)
        return np.loadtxt(io.StringIO(content.decode("utf-8-sig")), delimiter=",", ndmin=2)
    except InputError:
        raise
    except (ValueError, EOFError) as error:
        _refuse(path, f"holds no matrix of numbers: {error}")


def _refuse(path: str, right: str) -> NoReturn:
    raise InputError("transition", path, right)
