"""Which nodes live in which round: some fail at the start of one, for good."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError


@dataclass(frozen=True)
class Failure:
    """What fails at the start of a round.

    Args:
        round: counted from 0.
        failed: the nodes, ascending.
        left: those that live from then on, ascending.
    """

    round: int
    failed: tuple[int, ...]
    left: NDArray[np.int64]

    @property
    def text(self) -> str:
        """As ``--failing_nodes`` names it."""
        return " ".join(f"{node}@{self.round}" for node in self.failed)


def read(texts: Sequence[str]) -> dict[int, int]:
    """The round of each failing node.

    Raises:
        ValueError: one is not of the form NODE@ROUND, or a node fails twice.
    """
    rounds: dict[int, int] = {}
    for text in texts:
        node, at, number = text.partition("@")
        if not at or not all(part.isascii() and part.isdigit() for part in (node, number)):
            raise ValueError(f"{text} is not of the form NODE@ROUND, two numbers from 0")
        if int(node) in rounds:
            raise ValueError(f"node {int(node)} fails twice")
        rounds[int(node)] = int(number)
    return rounds


class Living:
    """The nodes that live in each round.

    Args:
        n: number of nodes.
        texts: which fail, as NODE@ROUND.

    Raises:
        InputError: one is no node, or fewer than two are left.
    """

    def __init__(self, n: int, texts: Sequence[str]) -> None:
        self._n, rounds = n, read(texts)
        for node in rounds:
            if node >= n:
                raise InputError(
                    "failing_nodes", texts, f"the graph has the nodes 0 to {n - 1}, and no {node}"
                )
        if rounds and n - len(rounds) < 2:
            raise InputError("failing_nodes", texts, f"of {n} nodes at least two must be left")
        self._dies = np.full(n, np.inf)
        self._dies[list(rounds)] = list(rounds.values())

    def at(self, number: int) -> NDArray[np.bool_]:
        """Which nodes live in a round, [n]."""
        lives: NDArray[np.bool_] = self._dies > number
        return lives

    def failures(self) -> Iterator[Failure]:
        """One for each round in which nodes fail, in their order."""
        for number in np.unique(self._dies[np.isfinite(self._dies)]).astype(int).tolist():
            failed = np.flatnonzero(self._dies == number).tolist()
            yield Failure(number, tuple(failed), np.flatnonzero(self.at(number)))
