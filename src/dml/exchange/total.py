"""The verb ``total``: the mean over all nodes, whatever the edges are; all to all, or through a server."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.average import Average
from dml.exchange.links import all_to_all
from dml.exchange.traffic import BYTES_PER_NUMBER, Path, Traffic, none, ring

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
        """Turns every row of Y, [n, P], into the mean of those that it has, in place."""
        if self._average is not None:
            self._average(Y, t)
            return
        n, m = self._exchange.topology.n, self._exchange.topology.m
        size = Y.shape[1] * BYTES_PER_NUMBER
        self._exchange.count(Traffic(np.full(n, (n - 1) * size), none(n, m).edges, path=ring(n, size)))
        Y.copy_(Y.mean(0, keepdim=True).expand_as(Y))

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, where messages may be lost."""
        return {} if self._average is None else self._average.memory()


class Server:
    """A server that is no node: clients send it vectors, and it sends them its own.

    Args:
        exchange: what it belongs to.
    """

    def __init__(self, exchange: "InMemory") -> None:
        self._exchange = exchange

    def send_to(self, clients: NDArray[np.bool_], numbers: int) -> None:
        """Counts the bytes of a vector that the server sends to each client.

        Args:
            clients: which nodes, [n].
            numbers: in the vector.
        """
        self._count(clients, 0, numbers)

    def mean(self, Y: Tensor, clients: NDArray[np.bool_]) -> Tensor:
        """The mean of the vectors of the clients, which send them to the server, [P].

        Args:
            Y: [n, P].
            clients: which nodes, [n].
        """
        import torch

        self._count(clients, Y.shape[1], 0)
        return Y[torch.from_numpy(np.flatnonzero(clients)).to(Y.device)].mean(0)

    def _count(self, clients: NDArray[np.bool_], up: int, down: int) -> None:
        nothing = none(self._exchange.topology.n, self._exchange.topology.m)
        each = np.array([up, down], np.int64) * BYTES_PER_NUMBER
        both = each * clients.sum()
        # Each client has a link of its own; with half duplex, they share the server's port.
        path = Path(1, int(each.sum()), int(both.sum()))
        self._exchange.count(Traffic(nothing.sent, nothing.edges, both, path=path))
