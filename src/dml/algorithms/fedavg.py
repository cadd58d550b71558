"""FedAvg: federated averaging through a server (McMahan et al., AISTATS 2017, arXiv 1602.05629, algorithm 1).

    x(t+1) = x(t) + 1/|S| sum_{i in S} (h_i(t) - x(t))

S are the clients that ``--participation`` selects in round t; each starts at the server's model x(t) and ends
its local steps at h_i(t). The server is no node. It sends x(t) to the clients in S before their local steps,
and they send their change back. All rows of X hold the server's model between two rounds: a client that is
not selected would get it as soon as it is. The edges of the graph carry nothing.

With all clients, plain SGD and one local step, this is centralized SGD on the batches of all nodes together.

Plain form: :class:`dml.algorithms.reference.FedAvg`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.rule import Rule
from dml.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.training.config import TrainingConfig


class FedAvg(Rule):
    """The server's model moves by the mean change of the selected clients.

    Args:
        exchange: over which models go to the server and back.
    """

    def __init__(self, exchange: "Exchange") -> None:
        super().__init__(exchange)
        self._server = exchange.server()
        self._clients = np.ones(exchange.topology.n, bool)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """The server sends its model to the selected clients."""
        self._clients = taking_part
        self._server.send_to(taking_part, X.shape[1])

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Every row becomes the mean over the clients, which is x(t) plus their mean change."""
        X.copy_(self._server.mean(X, self._clients).expand_as(X))


def make(setup: Setup) -> Rule:
    """FedAvg over all nodes."""
    return FedAvg(setup.exchange)


def requires(training: "TrainingConfig") -> None:
    """The server has one model, from which all clients start."""
    if training.init != "same":
        raise InputError(
            "init", training.init, "must be same for fedavg: clients start at the server's model"
        )


ALGORITHM = Algorithm(
    about="the mean over the selected clients, through a server",
    make=make,
    participation=True,
    requires=requires,
    defaults={"init": "same"},
    unread=frozenset({"prox_coeff"}),
)
