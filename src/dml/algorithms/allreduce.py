"""All-reduce: every node holds the mean of all half steps.

    x_i(t+1) = 1/n sum_j h_j(t)

With plain or momentum SGD and equal starts, this is centralized SGD on the batches of all nodes together. It
ignores the edges of the graph; each node sends its model to all others.

Plain form: :class:`dml.algorithms.reference.AllReduce`.
"""

from typing import TYPE_CHECKING

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.total import AllToAll


class AllReduce(Rule):
    """The mean over all nodes.

    Args:
        exchange: over which models go.
        total: the mean.
    """

    def __init__(self, exchange: "Exchange", total: "AllToAll") -> None:
        super().__init__(exchange)
        self._total = total

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- 1 1^T H / n."""
        self._total(X, t)

    def memory(self) -> dict[str, "Tensor"]:
        """The last messages that arrived."""
        return self._total.memory()


def make(setup: Setup) -> Rule:
    """All-reduce over all nodes."""
    return AllReduce(setup.exchange, setup.exchange.total(setup.loss_rule))


ALGORITHM = Algorithm(
    about="the mean over all nodes in every round, whatever the graph",
    make=make,
    loss_rules=weights.GOSSIP_RULES,
    all_to_all=True,
    memory=lambda n, m, lossy: n * (n - 1) if lossy else 0,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
)
