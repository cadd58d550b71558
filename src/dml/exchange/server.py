"""The verb ``server``: clients exchange vectors with a server, which is no node or is on one of them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.routes import Routes
from dml.exchange.traffic import BYTES_PER_NUMBER, Path, Traffic, none

if TYPE_CHECKING:
    from dml.exchange.in_memory import InMemory


class Server:
    """A server: it sends vectors to clients, and they send it theirs.

    Args:
        exchange: what it belongs to.
        node: the node on which it is; its messages then go over the shortest paths of the graph, and those
            of that node itself cost nothing. None for a server that is no node, with a link to every client.
    """

    def __init__(self, exchange: "InMemory", node: int | None = None) -> None:
        self._exchange = exchange
        self._answering = np.ones(exchange.topology.n, bool)
        self._routes = None if node is None else Routes(exchange.topology, node)

    def send_to(self, clients: NDArray[np.bool_], numbers: int) -> None:
        """Counts the bytes of a message that the server sends to each client.

        Args:
            clients: which nodes, [n].
            numbers: in the message.
        """
        size = numbers * BYTES_PER_NUMBER
        self._exchange.count(
            self._direct(clients, 0, size) if self._routes is None else self._routes.outwards(clients, size)
        )

    def receive(self, clients: NDArray[np.bool_], numbers: int) -> None:
        """Counts the bytes of a message that each client sends to the server.

        Args:
            clients: which nodes, [n].
            numbers: in the message.
        """
        self._answering, size = clients, numbers * BYTES_PER_NUMBER
        self._exchange.count(
            self._direct(clients, size, 0) if self._routes is None else self._routes.inwards(clients, size)
        )

    def carry(self, vectors: Tensor) -> Tensor:
        """What the server gets of some columns of a message that was counted, [k, columns].

        Every process has the server's numbers.

        Args:
            vectors: of the clients that live here, in the order of the nodes, [k or less, columns].
        """
        return self._exchange.ranks.gathered(vectors, self._exchange.ranks.counts(self._answering))

    def _direct(self, clients: NDArray[np.bool_], up: int, down: int) -> Traffic:
        nothing = none(self._exchange.topology.n, self._exchange.topology.m)
        if not clients.any():
            return nothing
        each = np.array([up, down], np.int64)
        both = each * clients.sum()
        # Each client has a link of its own; with half duplex, they share the server's port.
        path = Path(1, int(each.sum()), int(both.sum()))
        return Traffic(nothing.sent, nothing.edges, both, path=path)
