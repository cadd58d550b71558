"""The verb ``total``: the mean over all nodes, whatever the edges are."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dml.exchange.average import Average
from dml.exchange.links import all_to_all
from dml.exchange.sums import chunk
from dml.exchange.traffic import BYTES_PER_NUMBER, Traffic, none, ring

if TYPE_CHECKING:
    from dml.exchange.in_memory import InMemory


class AllToAll:
    """Every node sends its vector to all others, and averages what arrives.

    Args:
        exchange: what it belongs to.
        loss_rule: what a lost message counts as, one of ``average.LOSS_RULES``.
    """

    def __init__(self, exchange: "InMemory", loss_rule: str) -> None:
        from scipy.sparse import csr_array

        self._exchange, n = exchange, exchange.topology.n
        self._average: Average | None = None
        if exchange.drop:
            links = all_to_all(exchange.topology, exchange.drop, exchange.seed)
            self._average = Average(exchange, links, csr_array(np.full((n, n), 1 / n)), loss_rule)

    def __call__(self, Y: Tensor, t: int) -> None:
        """Turns every row of Y, those that live here, [rows, P], into the mean of what it has, in place."""
        if self._average is not None:
            self._average(Y, t)
            return
        n, m = self._exchange.topology.n, self._exchange.topology.m
        size = Y.shape[1] * BYTES_PER_NUMBER
        self._exchange.count(Traffic(np.full(n, (n - 1) * size), none(n, m).edges, path=ring(n, size)))
        for part in self._parts(Y):
            y = Y[:, part]
            y.copy_(self._of_all(y).mean(0, keepdim=True).expand_as(y))

    def _parts(self, Y: Tensor) -> Iterator[slice]:
        """All columns at once, or those of which a process has room for all nodes' vectors."""
        n, width = self._exchange.topology.n, Y.shape[1]
        step = width if self._exchange.ranks.size == 1 else chunk(n, width, Y, self._exchange.caches)
        for start in range(0, width, step):
            yield slice(start, min(start + step, width))

    def _of_all(self, y: Tensor) -> Tensor:
        """Some columns of all nodes' vectors."""
        ranks = self._exchange.ranks
        return ranks.gathered(y, ranks.counts(np.ones(self._exchange.topology.n, bool)))

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, where messages may be lost."""
        return {} if self._average is None else self._average.memory()
