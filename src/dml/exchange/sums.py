"""Weighted sums over some rows of a table of vectors: the one product that all averages are made of.

On a CPU, with few entries per sum, torch's embedding bag adds up the entries alone: the rows of its table are
pieces of vectors, its bags the pieces of the sums, so that a piece of all vectors stays in the cache.
Otherwise a dense product is taken.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CARD_BYTES = 256 << 20
"""Size of a chunk of columns on an accelerator, where each chunk costs a few calls and one wait."""

CACHE_BYTES = 1 << 20
"""Size of a chunk of columns on a CPU: a core's own cache, and small enough for malloc to keep it at hand."""

PIECE = 256
"""Columns that are added up at a time: those of 33 models take 33 kB."""

LEAST_PIECE = 64
"""The same for thousands of models."""

MOST_ENTRIES = 48
"""Mean entries per sum up to which adding them up is faster than a dense product: 33 are, 256 are not."""

HEAP_BYTES = 24 << 20
"""Size of the block that teaches malloc to keep memory, which must be below 32 MiB; it is never touched."""

LEAST_PRODUCTS = 20_000_000
"""Below this number of products of a dense [n, n] [n, P], setting up the bags costs more than they save."""


def _piece(rows: int, width: int, like: Tensor) -> int:
    in_cache = CACHE_BYTES // (like.element_size() * max(1, rows))
    return max(1, min(PIECE, max(LEAST_PIECE, in_cache // LEAST_PIECE * LEAST_PIECE), width))


def chunk(rows: int, width: int, like: Tensor, caches: int = 1) -> int:
    """The number of columns of a matrix to take at a time.

    Args:
        rows: of the matrix.
        width: of the matrix.
        like: a tensor of its type, on its device.
        caches: how many cores' caches the chunk may fill.
    """
    piece = _piece(rows, width, like)
    size = caches * CACHE_BYTES if like.device.type == "cpu" else CARD_BYTES
    return min(max(1, size // (like.element_size() * max(1, rows) * piece)) * piece, max(1, width))


def table(rows: int, width: int, like: Tensor) -> Tensor:
    """Zeros for ``rows`` vectors of ``width`` numbers, each padded to whole pieces."""
    return like.new_zeros(rows, _padded(width, _piece(rows, width, like)))


def table_and_space(rows: int, width: int, extra: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """A :func:`table`, and right behind it in memory space for a chunk of further vectors.

    Args:
        rows: of the table.
        width: of the table.
        extra: rows of the space.
        columns: width of a chunk.
        like: a tensor of their type, on their device.
    """
    piece = _piece(rows, width, like)
    wide, narrow = _padded(width, piece), _padded(columns, piece)
    both = like.new_zeros(rows * wide + extra * narrow)
    return both[: rows * wide].view(rows, wide), both[rows * wide :].view(extra, narrow)


def _padded(width: int, piece: int) -> int:
    # An odd number of pieces: at a distance of a power of two, rows would drive each other out of the cache.
    return (-(-width // piece) | 1) * piece


@cache
def _keep_heap() -> None:
    """Makes malloc keep the memory of temporary tensors, if it is glibc's, instead of returning it.

    Each sum is a new tensor. Memory that went back to the system between two of them would have to be mapped
    again, page by page, which costs as much as the sum itself. glibc keeps twice the size of the largest
    block that it has got back so far, up to this one.
    """
    torch.empty(HEAP_BYTES, dtype=torch.uint8)


def too_dense(entries: int, sums: int, rows: int, width: int) -> bool:
    """Whether a dense product [sums, rows] [rows, width] is as fast as adding up the entries."""
    return entries > MOST_ENTRIES * sums or sums * rows * width < LEAST_PRODUCTS


class Sums:
    """Weighted sums of some rows of a table.

    A row that is not finite reaches the sums that add it up, and no others.

    Args:
        to: the sum that each entry belongs to, [e].
        row: the row of the table that the entry adds, [e].
        weights: of the entries, [e]; None stands for 1. They are rounded to the table's type.
        n: the number of sums.
        source: the table, made by :func:`table`; it is read again in each call.
        width: how many numbers of its vectors are in use.
        dense: take a dense product on a CPU, too.
        space: further rows, whose numbers follow those of the last row of the table; they hold the columns of
            the chunk that is summed, and no others. Made by :func:`table_and_space`.
        wanted: the sums that are given; by default all n.
    """

    def __init__(
        self,
        to: NDArray[np.integer],
        row: NDArray[np.integer],
        weights: NDArray[np.float64] | None,
        n: int,
        source: Tensor,
        width: int,
        dense: bool = False,
        space: Tensor | None = None,
        wanted: slice | None = None,
    ) -> None:
        self._n, self._source, self._piece = n, source, _piece(len(source), width, source)
        dense = dense or source.device.type != "cpu"
        # The bits of a dense product depend on its shape, so all of its sums are taken.
        self._wanted = wanted if dense else None
        if wanted is not None and not dense:
            chosen = (to >= wanted.start) & (to < wanted.stop)
            to, row, self._n = to[chosen] - wanted.start, row[chosen], wanted.stop - wanted.start
            weights = None if weights is None else weights[chosen]
        self._space, self._pool = space, source.view(-1)
        self._to, self._row, self._weights = to, row, None
        if weights is not None:
            rounded = torch.from_numpy(weights).to(source.dtype).numpy()
            # An entry of 0 would carry what is not finite to a node that does not read it.
            self._to, self._row, self._weights = to[rounded != 0], row[rounded != 0], rounded[rounded != 0]
        self._bags: dict[int, tuple[Tensor, Tensor | None, Tensor, Tensor | None]] = {}
        self._by_piece: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._dense: Tensor | None = None
        if space is not None:
            numbers = source.numel() + space.numel()
            self._pool = source.as_strided((numbers,), (1,))
        if dense:
            matrix = np.zeros((n, len(source) + (0 if space is None else len(space))))
            np.add.at(matrix, (self._to, self._row), 1.0 if self._weights is None else self._weights)
            self._dense = torch.from_numpy(matrix).to(source)
        _keep_heap()

    def __call__(self, columns: int, start: int = 0) -> Tensor:
        """The sums of some columns, [n, columns], in a new matrix.

        Args:
            columns: how many.
            start: the first one, a multiple of :func:`chunk`.
        """
        if self._dense is not None:
            vectors = self._source[:, start : start + columns]
            if self._space is not None:
                vectors = torch.cat([vectors, self._space[:, :columns]])
            sums = self._product(self._dense, vectors)
            return sums if self._wanted is None else sums[self._wanted]
        if not self._n:
            return self._source.new_empty(0, columns)
        pieces = -(-columns // self._piece)
        if pieces not in self._bags:
            self._bags[pieces] = self._make(pieces)
        rows, back, ends, weights = self._bags[pieces]
        first = start // self._piece
        if back is not None:
            rows = torch.sub(rows, back, alpha=first)
        pool = self._pool.view(-1, self._piece)[first:]
        sums = torch.embedding_bag(pool, rows, ends, False, 0, False, weights, True)[0]
        return sums.view(self._n, -1)[:, :columns]

    def of(self, columns: int, chunk: int) -> Tensor:
        """The sums of the first columns, [n, columns], chunk by chunk.

        Args:
            columns: how many.
            chunk: how many at a time, as :func:`chunk` says.
        """
        if columns <= chunk:
            return self(columns)
        return torch.cat([self(min(chunk, columns - k), k) for k in range(0, columns, chunk)], 1)

    def put(self, target: Tensor, rows: Tensor | None = None) -> None:
        """Writes the sums of the first columns of the table into a matrix, with the same bits as a call.

        The pieces of all sums are taken one after another, and written from the cache. A call, whose sums
        must be rows of a matrix, takes a sixth longer.

        Args:
            target: with one row per sum, or more; as many columns as are summed.
            rows: the rows of the target that take the sums; None for all.
        """
        columns = target.shape[1]
        if self._dense is not None or not self._n:
            _put(target, rows, self(columns))
            return
        if columns not in self._by_piece:
            places = np.arange(-(-columns // self._piece))[:, None]
            order, counts = np.argsort(self._to, kind="stable"), np.bincount(self._to, minlength=self._n)
            first = self._row[order] * (self._source.shape[1] // self._piece)
            ends = np.append(0, np.tile(counts, len(places)).cumsum())
            weights = None if self._weights is None else np.tile(self._weights[order], len(places))
            self._by_piece[columns] = (
                _int32((first + places).ravel()),
                _int32(ends),
                None if weights is None else torch.from_numpy(weights),
            )
        entries, bag_ends, values = self._by_piece[columns]
        pool = self._pool.view(-1, self._piece)
        sums = torch.embedding_bag(pool, entries, bag_ends, False, 0, False, values, True)[0]
        sums, whole = sums.view(-1, self._n, self._piece), columns // self._piece
        if whole:
            pieces = target[:, : whole * self._piece].view(len(target), whole, self._piece)
            _put(pieces, rows, sums[:whole].transpose(0, 1))
        if columns % self._piece:
            _put(target[:, whole * self._piece :], rows, sums[whole, :, : columns % self._piece])

    def _product(self, weights: Tensor, vectors: Tensor) -> Tensor:
        sums = torch.mm(weights, vectors)
        if not sums.sum().isfinite():
            # A dense product makes 0 x inf a NaN; the entries that are not 0 carry only what they should.
            sums = torch.stack([row[row != 0] @ vectors[row != 0] for row in weights])
        return sums

    def _make(self, pieces: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """The rows of the pool that each bag adds up, where the bags end, and the weights; sum by sum.

        The second of four is 1 for the rows that lie in the space, which stay where they are when the pool
        begins at a later piece; None without a space.
        """
        places, moves = np.arange(pieces), self._row < len(self._source)
        first = self._row * (self._source.shape[1] // self._piece)
        if self._space is not None:
            behind = (self._row - len(self._source)) * self._space.shape[1] + self._source.numel()
            first = np.where(moves, first, behind // self._piece)
        rows = (first[:, None] + places).ravel()
        order = np.argsort((self._to[:, None] * pieces + places).ravel(), kind="stable")
        ends = np.append(0, np.repeat(np.bincount(self._to, minlength=self._n), pieces).cumsum())
        weights = None
        if self._weights is not None:
            weights = torch.from_numpy(np.repeat(self._weights, pieces)[order])
        stays = None if self._space is None else _int32(np.repeat(~moves, pieces)[order].astype(np.int32))
        return _int32(rows[order]), stays, _int32(ends), weights


def _put(target: Tensor, rows: Tensor | None, values: Tensor) -> None:
    if rows is None:
        target.copy_(values)
    else:
        target[rows] = values


def _int32(numbers: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int32))
