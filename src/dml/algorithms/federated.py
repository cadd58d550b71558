"""What all algorithms with a server share: the server's model w, the clients of a round, and their options.

In round t, the server sends w(t) to the clients S that take part; each of them starts at w(t) and ends its
local steps at h_i(t). They send the server something of which it makes w(t + 1). Between two rounds all rows
of X hold w: a client that does not take part would get it as soon as it does. If nobody takes part, w stays.

Every algorithm of this kind says how the mean of the clients' models moves w,

    w(t+1) = w(t) + g v(t)

with the server's learning rate g (``--server_lr``) and its own v. What is no parameter, such as the running
statistics of a batch norm, becomes the plain mean over the clients, whatever g is.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dml.algorithms.algorithm import Setup
from dml.algorithms.options import Options
from dml.algorithms.rule import Rule
from dml.errors import InputError
from dml.field_types import MAX_COEFFICIENT, MAX_COUNT
from dml.topology import Topology

if TYPE_CHECKING:
    from torch import Tensor

    from dml.training.config import TrainingConfig


class ServerOptions(Options):
    """How far the server's model moves, and where the server is."""

    server_lr: float = Field(
        1.0, gt=0, le=MAX_COEFFICIENT, description="factor on each move of the server's model"
    )
    server: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="the node on which the server is, whose messages go over shortest paths of the graph "
        "(default: a server that is no node, with a link to every client)",
    )


class Federated(Rule):
    """The server's model, and who takes part.

    Args:
        setup: with :class:`ServerOptions`.

    Attributes:
        w: the server's model at the start of the round, [P].
        clients: the nodes that take part, [n].
        here: those among the nodes that live here, [rows].
        rows: where they are, as an index of rows; all rows as a slice, which costs no copy.
        parts: the parameters' columns in chunks that fit into a cache.
        server_lr: g.
    """

    def __init__(self, setup: Setup) -> None:
        from dml.exchange.sums import chunk

        super().__init__(setup.exchange)
        assert isinstance(setup.options, ServerOptions)
        self.server_lr = setup.options.server_lr
        self._server = setup.exchange.server(setup.options.server)
        n, width = setup.topology.n, setup.trained
        step = chunk(n, width, setup.X, setup.exchange.caches)
        self._trained = width
        self.parts = [slice(first, min(first + step, width)) for first in range(0, width, step)]
        self.w = setup.X.new_zeros(setup.X.shape[1])
        self.clients = np.ones(n, bool)
        self.here = self.clients[setup.exchange.here]
        self.rows: Tensor | slice = slice(None)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """The server sends its model to the clients."""
        import torch

        self.clients, self.here, self.rows = taking_part, taking_part[self.exchange.here], slice(None)
        if not self.here.all():
            self.rows = torch.from_numpy(np.flatnonzero(self.here)).to(X.device)
        self.w.copy_(X[0])
        self._server.send_to(taking_part, self._sent(X.shape[1]))

    def _sent(self, width: int) -> int:
        """The numbers in the server's message to a client; those of a model.

        Args:
            width: of a model.
        """
        return width

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Every row becomes w(t + 1)."""
        if not self.clients.any():
            return
        self._server.receive(self.clients, self._answered(X.shape[1]))
        for part in self.parts:
            X[:, part] = self._next(X[self.rows, part], part, lr)
        rest = X[:, self._trained :]
        rest.copy_(self._server.carry(rest[self.rows]).mean(0).expand_as(rest))

    def _answered(self, width: int) -> int:
        """The numbers in a client's message to the server; those of a model.

        Args:
            width: of a model.
        """
        return width

    @abstractmethod
    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """The server's next model in some columns, [columns].

        Args:
            h: the half steps there of the clients that live here, [k, columns]; not to be changed.
            part: the columns, which are parameters.
            lr: the sum of the learning rates of the round's local steps; 0 if nothing was learned.
        """

    def _towards(self, mean: "Tensor", part: slice) -> "Tensor":
        """w + g (mean - w) in some columns, [columns]."""
        import torch

        return mean if self.server_lr == 1 else torch.lerp(self.w[part], mean, self.server_lr)


def admits(topology: Topology, options: ServerOptions, seed: int) -> None:
    """Needs a server that all nodes can reach.

    Raises:
        InputError: the server is no node, a node cannot reach it, or a message to it might be lost.
    """
    node = options.server
    if node is None:
        return
    if node not in topology.numbers:
        whole = topology.called is None
        right = (
            f"is not a node; nodes are 0 to {topology.n - 1}" if whole else "is none of the remaining nodes"
        )
        raise InputError("server", node, right)
    hops = topology.distance_to(np.flatnonzero(topology.numbers == node))
    if (hops < 0).any():
        far = topology.numbers[np.flatnonzero(hops < 0)[0]]
        raise InputError("server", node, f"node {far} of {topology.source} has no path to it")
    if (topology.weights < 1).any():
        right = f"needs links that always work, and {topology.source} has some of a weight below 1"
        raise InputError("server", node, right)


def requires(training: "TrainingConfig") -> None:
    """The server has one model, from which all clients start.

    Raises:
        InputError: the nodes start from different models.
    """
    if training.init != "same":
        right = "must be same for an algorithm with a server: clients start at the server's model"
        raise InputError("init", training.init, right)
