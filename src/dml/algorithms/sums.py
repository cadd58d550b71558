"""Sums over some rows of a table of vectors: what nodes make of what they have received.

On a CPU by torch's embedding bag, as in :mod:`dml.mixing`: its rows are pieces of vectors and its bags the
pieces of the sums. Elsewhere, and of few numbers, by a dense product.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.mixing import (
    CARD_BYTES,
    ENTRIES_BYTES,
    LEAST_PIECE,
    LEAST_PRODUCTS,
    MOST_ENTRIES,
    PIECE,
)


def _piece(rows: int, width: int, like: Tensor) -> int:
    readable = ENTRIES_BYTES // (like.element_size() * max(1, rows))
    return max(1, min(PIECE, max(LEAST_PIECE, readable // LEAST_PIECE * LEAST_PIECE), width))


def chunk(rows: int, width: int, like: Tensor, caches: int = 1) -> int:
    """Columns of a matrix of so many rows to take at a time: what so many cores' caches hold of them."""
    piece = _piece(rows, width, like)
    size = caches * ENTRIES_BYTES if like.device.type == "cpu" else CARD_BYTES
    return min(max(1, size // (like.element_size() * max(1, rows) * piece)) * piece, max(1, width))


def table(rows: int, width: int, like: Tensor) -> Tensor:
    """Zeros for so many vectors of so many numbers; each is padded to whole pieces."""
    piece = _piece(rows, width, like)
    # An odd number of pieces: at a distance of a power of two, rows would drive each other out of the cache.
    return like.new_zeros(rows, (-(-width // piece) | 1) * piece)


def too_dense(entries: int, n: int, width: int) -> bool:
    """Whether a dense product of [n, n] is as fast: it has many entries, or there is little to do."""
    return entries > MOST_ENTRIES * n or n * n * width < LEAST_PRODUCTS


class Sums:
    """n sums of some rows of a table each, every one with a weight.

    Args:
        to: the sum of each entry, [e].
        row: the row of the table that it adds, [e].
        weights: [e]; None for 1.
        n: sums.
        source: made by :func:`table`; read anew in each call.
        width: the numbers of its vectors that are in use.
        dense: by a dense product also on a CPU.
    """

    def __init__(
        self,
        to: NDArray[np.int64],
        row: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        n: int,
        source: Tensor,
        width: int,
        dense: bool = False,
    ) -> None:
        self._n, self._source, self._piece = n, source, _piece(len(source), width, source)
        # A zero would carry what is not finite to a node that does not read it.
        used = slice(None) if weights is None else weights != 0
        self._to, self._row = to[used], row[used]
        self._weights = None if weights is None else weights[used]
        self._bags: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._dense: Tensor | None = None
        if dense or source.device.type != "cpu":
            matrix = np.zeros((n, len(source)))
            np.add.at(matrix, (self._to, self._row), 1.0 if self._weights is None else self._weights)
            self._dense = torch.from_numpy(matrix).to(source)

    def __call__(self, columns: int, start: int = 0) -> Tensor:
        """The sums of so many columns from a multiple of ``chunk`` on, [n, columns], in a new matrix."""
        if self._dense is not None:
            return torch.mm(self._dense, self._source[:, start : start + columns])
        pieces = -(-columns // self._piece)
        if pieces not in self._bags:
            self._bags[pieces] = self._make(pieces)
        rows, ends, weights = self._bags[pieces]
        pool = self._source.view(-1, self._piece)[start // self._piece :]
        sums: Tensor = torch.embedding_bag(pool, rows, ends, False, 0, False, weights, True)[0]
        return sums.view(self._n, -1)[:, :columns]

    def _make(self, pieces: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Which rows of the pool each bag sums, where the bags end, and the weights; node by node."""
        places = np.arange(pieces)
        rows = (self._row[:, None] * (self._source.shape[1] // self._piece) + places).ravel()
        order = np.argsort((self._to[:, None] * pieces + places).ravel(), kind="stable")
        ends = np.append(0, np.repeat(np.bincount(self._to, minlength=self._n), pieces).cumsum())
        weights = None
        if self._weights is not None:
            weights = torch.from_numpy(np.repeat(self._weights, pieces)[order]).to(self._source.dtype)
        return _int32(rows[order]), _int32(ends), weights


def _int32(numbers: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int32))
