"""D-PSGD: decentralized parallel SGD (Lian et al., NeurIPS 2017, arXiv 1705.09056, algorithm 1).

    x_i(t+1) = sum_j W_ij h_j(t)

W may be any row-stochastic matrix on the graph, and another one in each round. With a doubly stochastic W,
such as Metropolis-Hastings weights, the mean of all models moves as the mean of all half steps does. If the
nodes' data differ, D-PSGD ends at a distance from the optimum that grows with the learning rate.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Averages, Exchange


class DPSGD(Rule):
    """Each node averages the models of its neighbourhood.

    Args:
        exchange: over which models go.
        average: by W.
    """

    def __init__(self, exchange: "Exchange", average: "Averages") -> None:
        super().__init__(exchange)
        self._average = average
        self._listeners: NDArray[np.bool_] | None = None

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Nodes that do not take part send their models, and keep them."""
        self._listeners = None if taking_part.all() else taking_part

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- W H."""
        self._average(X, t, self._listeners)

    def memory(self) -> dict[str, "Tensor"]:
        """The last messages that arrived."""
        return self._average.memory()


def make(setup: Setup) -> Rule:
    """The average by the strategy's coefficients in an experiment, else by W of the graph."""
    if setup.coefficients is not None:
        from dml.algorithms.decentralized import make as make_from_strategy

        return make_from_strategy(setup)
    W = weights.matrix(setup)
    return DPSGD(setup.exchange, setup.exchange.average(W, setup.loss_rule))


ALGORITHM = Algorithm(
    about="averages with the neighbours by doubly stochastic weights",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    strategies=True,
    participation=True,
    memory=weights.last_messages,
    admits=weights.admits,
    defaults=STEPPING | {"aggregation_strategy": "metropolis_hastings"},
)
