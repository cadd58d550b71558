"""Ranks that are processes, on this host or on several, over torch.distributed.

Only tensors are sent, by collectives and from point to point; nothing is pickled.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from dml.errors import LostRankError
from dml.ranks.halo import Halo, between
from dml.ranks.ranks import Ranks
from dml.ranks.seat import Seat

P = ParamSpec("P")
T = TypeVar("T")


def _or_lost(call: Callable[P, T]) -> Callable[P, T]:
    """An error of a connection is that of a rank that has ended."""

    @wraps(call)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except RuntimeError as error:
            raise LostRankError("another process of the experiment has ended") from error

    return named


class Group(Ranks):
    """The ranks of the process group that has been joined.

    Args:
        seat: which of them this process is.
    """

    def __init__(self, seat: Seat) -> None:
        self.rank, self.size, self.place, self.places = seat.rank, seat.size, seat.place, seat.places
        self.shown = seat.shown

    def halo(
        self, reader: NDArray[np.int64], owner: NDArray[np.int64], row: NDArray[np.integer]
    ) -> Halo | None:
        """As :meth:`Ranks.halo`."""
        sent, got = between(self.rank, reader, owner, row)
        return Halo(self.swap, sent, got) if sent or got else None

    @_or_lost
    def swap(self, sent: Mapping[int, Tensor], got: Mapping[int, Tensor]) -> None:
        """Sends tensors to other ranks, and gets some from them.

        Args:
            sent: to each rank, contiguous.
            got: from each rank; filled.
        """
        steps = [dist.P2POp(dist.isend, tensor, rank) for rank, tensor in sent.items()]
        steps += [dist.P2POp(dist.irecv, tensor, rank) for rank, tensor in got.items()]
        for work in dist.batch_isend_irecv(steps) if steps else ():
            work.wait()

    @_or_lost
    def gathered(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """As :meth:`Ranks.gathered`."""
        # Collectives take equal shapes; blocks differ by a row, or by those that take no part.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    @_or_lost
    def at_first(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """As :meth:`Ranks.at_first`."""
        if self.rank:
            if len(rows):
                self.swap({0: rows.contiguous()}, {})
            return rows[:0]
        others = {r: rows.new_empty(n, *rows.shape[1:]) for r, n in enumerate(counts) if r and n}
        self.swap({}, others)
        return torch.cat([rows, *others.values()])

    @_or_lost
    def of_first(self, values: Tensor) -> Tensor:
        """As :meth:`Ranks.of_first`."""
        found = values.contiguous().clone()
        dist.broadcast(found, 0)
        return found

    @_or_lost
    def largest(self, *numbers: int) -> list[int]:
        """As :meth:`Ranks.largest`."""
        found = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        largest: list[int] = found.tolist()
        return largest
