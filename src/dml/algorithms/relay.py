"""RelaySum over the trees of an algorithm, which share the columns of its matrix, and what is told of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.relay_sum import RelaySum
from dml.algorithms.rule import Rule, prefixed
from dml.algorithms.traffic import Traffic


@dataclass(frozen=True)
class Piece:
    """Some columns of S in one round.

    Args:
        columns: which, of S and of any matrix like it.
        short: n - n_i, [n, 1]; None where no value is missing.
    """

    columns: slice
    short: Tensor | None
    _relay: RelaySum
    _part: slice

    def total(self, s: Tensor) -> Tensor:
        """total / n of s, which are these columns of S, in a new matrix."""
        return self._relay.total(s, self._part)

    def mean(self, s: Tensor, missing: Tensor | None, scale: float = 1.0) -> Tensor:
        """(total + (n - n_i) scale missing) / n in the place of s; without ``missing``, total / n_i."""
        if self.short is None:
            return self._relay.total(s, self._part, out=s)
        total, n = self._relay.total(s, self._part), len(s)
        if missing is None:
            return torch.mul(total, n / (n - self.short), out=s)
        return torch.addcmul(total, self.short, missing, value=scale / n, out=s)


class Relays:
    """RelaySum over several trees, each with columns of its own.

    Args:
        links: of each tree.
        remember: see :class:`RelaySum`.
        overlap: see :class:`RelaySum`.
        strided: tree i of k has the columns i, i + k, ..; else the i-th of k contiguous parts.
        like: a matrix of the shape, type and device of S.
    """

    def __init__(
        self, links: Sequence[Links], remember: str, overlap: bool, strided: bool, like: Tensor
    ) -> None:
        self._links, k, width = links, len(links), like.shape[1]
        cut = [width * i // k for i in range(k + 1)]
        self._columns = [slice(i, width, k) if strided else slice(cut[i], cut[i + 1], 1) for i in range(k)]
        self._sums = [
            RelaySum(own, remember, overlap, like[:, columns], 1 / len(like))
            for own, columns in zip(links, self._columns, strict=True)
        ]
        unknown = np.full(len(like), np.nan, np.float32)
        self._measured = {"relay_values": unknown, "relay_age": unknown}
        self._begun = False

    def round(self, t: int) -> Iterator[Piece]:
        """The columns of all trees in pieces; each piece's total or mean is to be taken once."""
        self._begun = True
        for relay, own in zip(self._sums, self._columns, strict=True):
            relay.begin(t)
            short = None
            if (missing := len(relay.counts) - relay.counts).any():
                short = relay.like.new_tensor(missing)[:, None]
            for part in relay.slices():
                stop = min(own.stop, own.start + part.stop * own.step)
                columns = slice(own.start + part.start * own.step, stop, own.step)
                yield Piece(columns, short, relay, part)

    def traffic(self, width: int, counters: int) -> Traffic:
        """Each message holds its tree's columns, and so many counters."""
        sizes = [len(range(*columns.indices(width))) for columns in self._columns]
        first, *rest = [
            links.traffic(size + counters) for links, size in zip(self._links, sizes, strict=True)
        ]
        return sum(rest, start=first)

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """Of the last round, [n]: the values that a node's totals held, and the age of their oldest message.

        Of several trees the least and the greatest; NaN before the first round.
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
        """Of the messages of all trees, which go on growing."""
        return {f"tree{i}_ages": relay.ages for i, relay in enumerate(self._sums)}

    def load(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Goes on from what :meth:`measures` and :meth:`ages` returned."""
        self._begun = False
        # A checkpoint from before they were measured has neither.
        for name, row in self._measured.items():
            self._measured[name] = np.asarray(state.get(name, np.full_like(row, np.nan)), np.float32)
        for i, relay in enumerate(self._sums):
            relay.ages[:] = state.get(f"tree{i}_ages", -1)

    def memory(self) -> dict[str, Tensor]:
        """Those of all trees."""
        return {
            name: tensor
            for i, relay in enumerate(self._sums)
            for name, tensor in prefixed(f"tree{i}_", relay.memory()).items()
        }


class RelayRule(Rule):
    """A rule over relays, which are measured.

    Args:
        relays: the trees.
    """

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """``relay_values`` and ``relay_age``, see :meth:`Relays.measures`."""
        return self._relays.measures()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Also what was measured, and how old the messages are."""
        return super().state() | self._relays.measures() | self._relays.ages()

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Goes on from what :meth:`state` returned."""
        super().load_state(state)
        self._relays.load(state)
