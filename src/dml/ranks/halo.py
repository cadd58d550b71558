"""The rows that ranks send each other because some of them read what others own."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Swap = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], None]
"""Sends a tensor to each of some ranks, and fills those that come from each of some."""


class Halo:
    """The rows of a table that this rank sends, and those that it gets.

    Args:
        swap: sends and gets tensors.
        sent: places in the table of the rows that each other rank reads, [any] each, ascending.
        got: places of the rows that each other rank owns and this one reads, [any] each, ascending.
    """

    def __init__(
        self, swap: Swap, sent: Mapping[int, NDArray[np.int64]], got: Mapping[int, NDArray[np.int64]]
    ) -> None:
        self._swap = swap
        self._sent = {rank: torch.from_numpy(rows) for rank, rows in sent.items()}
        self._got = {rank: torch.from_numpy(rows) for rank, rows in got.items()}

    def fill(self, table: Tensor) -> None:
        """Sends own rows of the table, and puts those of other ranks into it.

        Args:
            table: [rows, columns]; as wide on all ranks.
        """
        device = table.device
        sent = {rank: table.index_select(0, rows.to(device)) for rank, rows in self._sent.items()}
        got = {rank: table.new_empty(len(rows), table.shape[1]) for rank, rows in self._got.items()}
        self._swap(sent, got)
        for rank, rows in self._got.items():
            table[rows.to(device)] = got[rank]


def between(
    me: int,
    reader: NDArray[np.int64],
    owner: NDArray[np.int64],
    row: NDArray[np.integer],
) -> tuple[dict[int, NDArray[np.int64]], dict[int, NDArray[np.int64]]]:
    """What a rank sends to each other one, and what it gets from each.

    Args:
        me: the rank.
        reader: a rank that reads a row, [e].
        owner: the rank that has this row, [e].
        row: its place in the table, [e].
    """
    sent, got = (
        {
            int(rank): np.unique(row[(own == me) & (other == rank)]).astype(np.int64)
            for rank in np.unique(other[own == me])
            if rank != me
        }
        for own, other in ((owner, reader), (reader, owner))
    )
    return sent, got
