"""What D-PSGD and aggregation by a strategy have in common: a rule that averages over neighbourhoods."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Averaged, Exchange


class AveragingRule(Rule):
    """Each node averages the models of its neighbourhood.

    Args:
        exchange: over which models go.
        average: by a row-stochastic matrix W.
    """

    def __init__(self, exchange: "Exchange", average: "Averaged") -> None:
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
