"""What each node has received: sums over the rows of a matrix of messages, by receiver.

On a CPU by torch's embedding bag, as in :mod:`dml.mixing`: its rows are pieces of messages and its bags the
pieces of the sums, so a message is read once. Elsewhere by a product with a matrix of zeros and ones.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.mixing import CHUNK_ELSEWHERE, ENTRIES_BYTES, LEAST_PIECE, PIECE


def table(messages: int, width: int, like: Tensor) -> Tensor:
    """Zeros for so many messages of so many numbers; rows are padded to whole pieces."""
    piece = _piece(messages, width, like)
    # An odd number of pieces: at a distance of a power of two, rows would drive each other out of the cache.
    return like.new_zeros(messages, (-(-width // piece) | 1) * piece)


def _piece(messages: int, width: int, like: Tensor) -> int:
    if like.device.type != "cpu":
        return max(1, width)
    readable = ENTRIES_BYTES // (like.element_size() * max(1, messages))
    return max(1, min(PIECE, max(LEAST_PIECE, readable // LEAST_PIECE * LEAST_PIECE), width))


class Inbox:
    """The sums of the messages to each node.

    Args:
        to: the receiver of each message, [k].
        n: nodes.
        messages: made by :func:`table`; read anew in each call.
        width: numbers in a message.

    Attributes:
        chunk: columns to take at a time: as many as a cache holds of all messages.
    """

    def __init__(self, to: NDArray[np.int64], n: int, messages: Tensor, width: int) -> None:
        self._to, self._n, self._messages = to, n, messages
        k, self._piece = len(to), _piece(len(to), width, messages)
        self._bags: dict[int, tuple[Tensor, Tensor]] = {}
        self._dense: Tensor | None = None
        size = ENTRIES_BYTES
        if messages.device.type != "cpu":
            size = CHUNK_ELSEWHERE
            self._dense = messages.new_zeros(n, k)
            self._dense[torch.from_numpy(to), torch.arange(k)] = 1
        self.chunk = max(1, size // (messages.element_size() * max(1, k) * self._piece)) * self._piece

    def __call__(self, part: slice) -> Tensor:
        """The sums of some columns, [n, columns]; ``part`` starts at a multiple of ``chunk``."""
        if self._dense is not None:
            return torch.mm(self._dense, self._messages[:, part])
        pieces = -(-(part.stop - part.start) // self._piece)
        if pieces not in self._bags:
            self._bags[pieces] = self._make(pieces)
        rows = self._messages.view(-1, self._piece)[part.start // self._piece :]
        sums: Tensor = torch.embedding_bag(rows, *self._bags[pieces], False, 0, False, None, True)[0]
        return sums.view(self._n, -1)[:, : part.stop - part.start]

    def _make(self, pieces: int) -> tuple[Tensor, Tensor]:
        """The rows of the table that each bag sums, and where the bags end: node by node, piece by piece."""
        places = np.arange(pieces)
        rows = np.arange(len(self._to))[:, None] * (self._messages.shape[1] // self._piece) + places
        order = np.argsort((self._to[:, None] * pieces + places).ravel(), kind="stable")
        ends = np.append(0, np.repeat(np.bincount(self._to, minlength=self._n), pieces).cumsum())
        return (
            torch.from_numpy(rows.ravel()[order].astype(np.int32)),
            torch.from_numpy(ends.astype(np.int32)),
        )
