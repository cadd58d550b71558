"""X <- C X in place, for the matrix X of all models, in chunks of columns.

Two products. On a CPU, with few entries in a row of C, sums over the entries alone: torch's embedding bag,
whose rows are pieces of models and whose bags are the new pieces; a piece of all models stays in the first
cache. Otherwise a dense product.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DENSE_BYTES = 4 << 20
"""Size of a chunk of columns for the dense product: small beside X, no larger than a shared cache."""

ENTRIES_BYTES = 1 << 20
"""The same for sums over entries: a core's own cache, and little enough that malloc keeps it at hand."""

CHUNK_ELSEWHERE = 256 << 20
"""Size of a chunk of columns on a card, whose caches are small and whose calls are dear."""

PIECE = 256
"""Columns that are summed at a time: those of 33 models are 33 kB."""

LEAST_PIECE = 64
"""The same of thousands of models."""

MOST_ENTRIES = 48
"""Mean entries a row up to which their sums are faster than a dense product: 33 are, 256 are not."""


LEAST_PRODUCTS = 20_000_000
"""Products of a dense C X, n n P, under which setting up the sums costs more than they save: 0.2 ms."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def mix(X: Tensor, C: "csr_array") -> None:
    """X <- C X, in place; rows of C that are rows of I leave theirs untouched.

    A model that is not finite reaches those that read it, and no others. The same numbers come out bit for
    bit in every run of the same threads.

    Args:
        X: the models, [n, P], rows contiguous.
        C: coefficients, [n, n], float64; they are rounded to X's type.
    """
    changed = _changed_rows(C)
    if not len(changed):
        return
    # Only the columns that are read: a model that nobody uses cannot spread what it holds.
    block = C[changed]
    read = np.unique(block.indices)
    block = block[:, read]
    rows, columns = _index(changed, X), _index(read, X)
    sparse = 0 < block.nnz <= MOST_ENTRIES * len(changed)
    if sparse and X.device.type == "cpu" and len(changed) * len(read) * X.shape[1] >= LEAST_PRODUCTS:
        block = block.astype(_NUMPY[X.dtype])
        block.eliminate_zeros()
        _by_entries(X, block, rows, columns)
    else:
        _dense(X, torch.from_numpy(block.toarray()).to(X), rows, columns)


def _index(numbers: NDArray[np.integer], X: Tensor) -> Tensor | None:
    """Some rows of X, or None for all."""
    if len(numbers) == len(X):
        return None
    return torch.from_numpy(numbers.astype(np.int64)).to(X.device)


def _changed_rows(C: "csr_array") -> NDArray[np.int64]:
    """Rows that are not rows of the identity matrix."""
    # Stored entries, zeros not counted: a strategy may store a zero.
    stored = np.add.reduceat(np.append(C.data != 0, 0), C.indptr[:-1]) * (np.diff(C.indptr) > 0)
    return np.flatnonzero((C.diagonal() != 1) | (stored != 1)).astype(np.int64)


def _by_entries(X: Tensor, block: "csr_array", rows: Tensor | None, columns: Tensor | None) -> None:
    readable = ENTRIES_BYTES // (X.element_size() * block.shape[1])
    piece = min(PIECE, max(LEAST_PIECE, readable // LEAST_PIECE * LEAST_PIECE), X.shape[1])
    # An odd number of pieces: at a distance of a power of two, rows would drive each other out of the cache.
    pieces = min((readable // piece) | 1, -(-X.shape[1] // piece))
    used = X.new_zeros(block.shape[1], pieces * piece)
    sums = _bags(block, used, pieces)
    for start in range(0, X.shape[1], pieces * piece):
        part = X[:, start : start + pieces * piece]
        _take(part, columns, used[:, : part.shape[1]])
        # In the last chunk the columns beyond X hold what they held before; their sums are not used.
        mixed = sums()
        whole = part.shape[1] // piece
        if whole:
            _put(part[:, : whole * piece].view(len(X), whole, piece), rows, mixed[:whole].transpose(0, 1))
        if part.shape[1] % piece:
            _put(part[:, whole * piece :], rows, mixed[whole, :, : part.shape[1] % piece])


def _bags(block: "csr_array", used: Tensor, pieces: int) -> Callable[[], Tensor]:
    """The sums of the weighted entries, [pieces, rows of the block, piece], of what ``used`` holds then.

    One bag for each piece of a model, in the order of the pieces.
    """
    table = used.view(len(used) * pieces, -1)
    # Every model lies in as many rows of the table as there are pieces.
    which = _int32((block.indices * pieces + np.arange(pieces)[:, None]).ravel())
    ends = _int32(np.append(0, np.tile(np.diff(block.indptr), pieces).cumsum()))
    values = torch.from_numpy(np.tile(block.data, pieces))

    def sums() -> Tensor:
        mixed: Tensor = torch.embedding_bag(table, which, ends, False, 0, False, values, True)[0]
        return mixed.view(pieces, block.shape[0], -1)

    return sums


def _int32(numbers: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int32))


def _dense(X: Tensor, weights: Tensor, rows: Tensor | None, columns: Tensor | None) -> None:
    chunk = columns_of(DENSE_BYTES, X)
    # Kept over the chunks: memory from the system anew for each would cost more than the product of few rows.
    buffer = X.new_empty(len(weights), min(chunk, X.shape[1]))
    for start in range(0, X.shape[1], chunk):
        part = X[:, start : start + chunk]
        used = part if columns is None else part[columns]
        mixed = torch.mm(weights, used, out=buffer[:, : part.shape[1]])
        if not mixed.sum().isfinite():
            # A dense product makes 0 x inf a NaN, and so carries a model that has blown up to nodes that
            # do not read it; over the entries that are not 0 it reaches those that do.
            mixed = torch.stack([row[row != 0] @ used[row != 0] for row in weights])
        _put(part, rows, mixed)


def columns_of(size: int, X: Tensor) -> int:
    """How many columns of X take so many bytes, in whole cache lines."""
    line = 64 // X.element_size()
    return max(line, size // (X.element_size() * len(X)) // line * line)


def _take(part: Tensor, columns: Tensor | None, out: Tensor) -> None:
    if columns is None:
        out.copy_(part)
    else:
        torch.index_select(part, 0, columns, out=out)


def _put(part: Tensor, rows: Tensor | None, mixed: Tensor) -> None:
    if rows is None:
        part.copy_(mixed)
    else:
        part[rows] = mixed
