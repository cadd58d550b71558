"""What the processes of one experiment do together; and the one process that has an experiment to itself.

A rank is a process that owns the rows of some nodes, a block of consecutive ones. All ranks carry out the
same program: whoever calls a method here, all of them do, in the same order.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from dml.ranks.halo import Halo


TEXT_BYTES = 200
"""The longest text that ranks tell each other, such as the name of a host."""


class Ranks:
    """One process that has an experiment to itself, and so has nobody to send anything.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        place: the number of this process among those on this host, from 0.
        places: how many of them are on this host.
        shown: whether a launcher has started them, which may show each of them an accelerator of its own.
        collects: whether rank 0 gets the models of all to measure their mean, and their distances from it.
    """

    rank: int = 0
    size: int = 1
    place: int = 0
    places: int = 1
    shown: bool = False
    collects: bool = True

    def ends(self, n: int) -> NDArray[np.int64]:
        """Where the block of each rank begins, and the last one ends, [size + 1].

        Args:
            n: rows over all ranks.
        """
        return np.arange(self.size + 1, dtype=np.int64) * n // self.size

    def here(self, n: int) -> slice:
        """The rows of this rank, of n over all of them."""
        ends = self.ends(n)
        return slice(int(ends[self.rank]), int(ends[self.rank + 1]))

    def owner(self, n: int, row: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rank that has each of some rows, of n over all ranks."""
        found: NDArray[np.int64] = np.searchsorted(self.ends(n), row, side="right") - 1
        return found

    def halo(
        self, reader: NDArray[np.int64], owner: NDArray[np.int64], row: NDArray[np.integer]
    ) -> "Halo | None":
        """The rows of a table that ranks send each other, as some of them read what others own.

        Args:
            reader: a rank that reads a row, [e].
            owner: the rank that has this row, [e].
            row: its place in the table, [e].

        Returns:
            None if this rank neither sends nor gets any.
        """
        return None

    def gathered(self, rows: "Tensor", counts: Sequence[int]) -> "Tensor":
        """The rows of all ranks, one rank after another, on each of them.

        Args:
            rows: those of this rank, [count, ...].
            counts: how many each rank has, [size].
        """
        return rows

    def at_first(self, rows: "Tensor", counts: Sequence[int]) -> "Tensor":
        """The rows of all ranks, one rank after another, on rank 0; nothing, [0, ...], on the others.

        Args:
            rows: those of this rank, [count, ...].
            counts: how many each rank has, [size].
        """
        return rows

    def of_first(self, values: "Tensor") -> "Tensor":
        """Rank 0's values, on each rank; those of the others only say how many there are."""
        return values

    def largest(self, *numbers: int) -> list[int]:
        """The largest of the numbers that the ranks give, one by one."""
        return list(numbers)

    def texts(self, text: str) -> list[str]:
        """The text of each rank, as far as its first 200 bytes."""
        if self.size == 1:
            return [text]
        import torch

        held = torch.zeros(1, TEXT_BYTES, dtype=torch.uint8)
        encoded = text.encode()[:TEXT_BYTES]
        held[0, : len(encoded)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        found = self.gathered(held, [1] * self.size)
        return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in found]

    def on_wire(self) -> list[int] | None:
        """Bytes that each rank has sent to others, [size]; None where nobody counts them."""
        return None

    def counts(self, chosen: NDArray[np.bool_]) -> list[int]:
        """How many of the chosen rows each rank has, [size].

        Args:
            chosen: of all rows, [n].
        """
        ends = self.ends(len(chosen))
        return [int(chosen[a:b].sum()) for a, b in pairwise(ends)]


ALONE = Ranks()
"""This process by itself."""
