"""RelaySum over one or more trees, which share the columns of a matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.relay_sum import RelaySum

if TYPE_CHECKING:
    from dml.exchange.exchange import Exchange
    from dml.topology.trees import Tree


@dataclass(frozen=True)
class Piece:
    """Some columns of S in one round.

    Args:
        columns: which ones, of S and of any matrix like it.
        short: n - n_i, [n, 1]; None if no value is missing.
    """

    columns: slice
    short: Tensor | None
    _relay: RelaySum
    _part: slice

    @property
    def space(self) -> Tensor:
        """Where these columns of S are to be written before their total or mean is taken, [n, columns]."""
        return self._relay.space(self._part)

    def total(self) -> Tensor:
        """total / n, in a new matrix."""
        return self._relay.total(self._part)

    def mean(self, missing: Tensor | None, scale: float = 1.0) -> Tensor:
        """(total + (n - n_i) scale missing) / n, in a new matrix; without ``missing``, total / n_i."""
        total = self._relay.total(self._part)
        if self.short is None:
            return total
        n = len(total)
        if missing is None:
            return total.mul_(n / (n - self.short))
        return total.addcmul_(self.short, missing, value=scale / n)


class Relays:
    """RelaySum over several trees, each of which has columns of its own.

    Args:
        exchange: over which messages go.
        trees: of its topology.
        remember: see :class:`RelaySum`.
        overlap: see :class:`RelaySum`.
        slices: ``strided``: tree i of k has the columns i, i + k, ...; ``contiguous``: the i-th of k parts.
        counters: numbers that each message holds besides its vector.
    """

    def __init__(
        self,
        exchange: "Exchange",
        trees: "Sequence[Tree]",
        remember: str,
        overlap: bool,
        slices: str,
        counters: int,
    ) -> None:
        like, k, width = exchange.like, len(trees), exchange.like.shape[1]
        cut = [width * i // k for i in range(k + 1)]
        strided = slices == "strided"
        self._columns = [slice(i, width, k) if strided else slice(cut[i], cut[i + 1], 1) for i in range(k)]
        self._sums = [
            RelaySum(exchange.send(tree.edges), remember, overlap, like[:, columns], 1 / len(like), counters)
            for tree, columns in zip(trees, self._columns, strict=True)
        ]
        self._exchange = exchange
        unknown = np.full(len(like), np.nan, np.float32)
        self._measured = {"relay_values": unknown, "relay_age": unknown}
        self._begun = False

    def round(self, t: int) -> Iterator[Piece]:
        """The columns of all trees in pieces; the total or mean of each piece is to be taken once."""
        self._begun = True
        with self._exchange.at_once():
            for relay in self._sums:
                relay.begin(t)
        for relay, own in zip(self._sums, self._columns, strict=True):
            short = None
            if (missing := len(relay.counts) - relay.counts).any():
                short = relay.like.new_tensor(missing)[:, None]
            for part in relay.slices():
                stop = min(own.stop, own.start + part.stop * own.step)
                columns = slice(own.start + part.start * own.step, stop, own.step)
                yield Piece(columns, short, relay, part)

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """For the last round, [n]: how many values a node's totals held, and the age of their oldest message.

        With several trees, the smallest number and the greatest age; NaN before the first round.
        """
        if self._begun:
            values = np.min([relay.counts for relay in self._sums], 0)
            age = np.max([relay.age for relay in self._sums], 0)
            self._measured = {
                "relay_values": values.astype(np.float32),
                "relay_age": age.astype(np.float32),
            }
        return self._measured

    def ages(self) -> dict[str, NDArray[np.int64]]:
        """The ages of the messages of all trees, by the tree's name."""
        return {f"tree{i}_ages": relay.ages for i, relay in enumerate(self._sums)}

    def load(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`measures` and :meth:`ages` returned.

        Raises:
            KeyError: something is missing.
        """
        self._begun = False
        for name in self._measured:
            self._measured[name] = np.asarray(state[name], np.float32)
        for i, relay in enumerate(self._sums):
            relay.ages[:] = state[f"tree{i}_ages"]

    def memory(self) -> dict[str, Tensor]:
        """The memory of all trees, by name."""
        return {
            f"tree{i}_{name}": tensor
            for i, relay in enumerate(self._sums)
            for name, tensor in relay.memory().items()
        }
