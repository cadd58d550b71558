"""What an exchange is: the verbs by which a rule learns about other nodes, whoever implements them.

There is one implementation for nodes whose vectors are rows of a matrix, :class:`dml.exchange.in_memory
.InMemory`; it may have all of them or, as one of several processes, a block. Another one, whose nodes are
processes, holds one row each; a rule cannot tell the difference.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.gather import Received
from dml.exchange.in_turn import Turns
from dml.exchange.push import Push
from dml.exchange.send import Channel
from dml.exchange.server import Server
from dml.exchange.total import AllToAll
from dml.exchange.traffic import Traffic
from dml.topology import Topology

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Averaged(Protocol):
    """Y <- W Y, ready to be taken in each round, whether all rows at once or one after another."""

    def __call__(self, Y: Tensor, t: int, listeners: NDArray[np.bool_] | None = None) -> None:
        """Takes the average of round t in place."""

    def memory(self) -> dict[str, Tensor]:
        """What is remembered from round to round, by name."""


class Averages(Averaged, Protocol):
    """The same with all rows at once; see :class:`dml.exchange.average.Average`."""

    def chunks(self, t: int, listeners: NDArray[np.bool_] | None = None) -> Iterator[slice]:
        """Starts round t: the chunks of columns, each of which is written to ``space`` and then ``mixed``."""

    def space(self, part: slice) -> Tensor:
        """Where a chunk of Y is to be written."""

    def mixed(self, part: slice) -> Tensor:
        """The average of what the space holds."""


class Exchange(Protocol):
    """The verbs of :class:`dml.exchange.in_memory.InMemory`, which describes their arguments.

    Attributes:
        topology: the whole graph.
        like: a matrix with the shape, type and device of the models that live here, [rows, P].
        here: the nodes of these rows.
        caches: how many caches a chunk of all nodes' columns may fill.
        headers: scalars that come with the models, by name, [n] each.
    """

    topology: Topology
    like: Tensor
    here: slice
    caches: int
    headers: dict[str, NDArray[np.float64]]

    def average(
        self,
        W: "csr_array | Callable[[int, NDArray[np.bool_]], csr_array]",
        loss_rule: str,
        offset: int | None = None,
    ) -> Averages:
        """Y <- W Y over the links."""

    def average_in_turn(
        self,
        W: "Callable[[int, NDArray[np.bool_]], csr_array]",
        loss_rule: str,
        turns: Turns,
        *,
        anew: bool = False,
    ) -> Averaged:
        """Y <- W Y, row by row: a node reads the new vectors of those whose turn was before."""

    def gather(
        self, Y: Tensor, t: int, listeners: NDArray[np.bool_] | None = None, *, counted: bool = False
    ) -> Received:
        """Each node gets its neighbours' vectors, by ascending number."""

    def send(self, edges: NDArray[np.int64]) -> Channel:
        """A vector of its own over each direction of some edges."""

    def push(self, loss_rule: str) -> Push:
        """Equal shares of each node's vector to itself and to its receivers, which add them up."""

    def total(self, loss_rule: str) -> AllToAll:
        """The mean over all nodes, whatever the edges are."""

    def server(self, node: int | None = None) -> Server:
        """A server, which is no node or is on one of them."""

    def alike(self, tensor: Tensor) -> Tensor:
        """Notes that what a rule remembers is no row per node, but the same in all processes."""

    def whole(self, tensor: Tensor) -> NDArray[np.generic]:
        """A copy of what is remembered of all nodes, for a checkpoint."""

    def part(self, array: NDArray[np.generic], tensor: Tensor) -> NDArray[np.generic]:
        """The part of it that belongs here."""

    def by_receiver(
        self, receiver: NDArray[np.int64], compute: Callable[[NDArray[np.bool_]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """A number for each message, which is computed where its receiver lives."""

    def at_once(self) -> AbstractContextManager[None]:
        """What is sent within the context travels at the same time."""

    def take_traffic(self) -> Traffic:
        """The bytes that were sent since they were last taken."""
