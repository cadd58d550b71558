"""Aggregation by a strategy (arXiv 2505.11760): X <- C X with its coefficients, or its reduction of each
neighbourhood.

C_ij are the strategy's coefficients over the neighbourhood N(i), which includes i itself. Rows of nodes that
do not take part are rows of I, so such a node keeps its model but is read by others. A message over an edge
of weight p arrives with probability p (1 - drop), drawn for each direction by itself. Lost messages are left
out of N(i) in their round (``renormalise``), or count as :mod:`dml.exchange.average` says. With an
``--aggregation_order`` other than simultaneous, nodes replace their models one after another
(:mod:`dml.coefficients.order`).

Plain form: :func:`dml.algorithms.reference.neighbourhood_means`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.averaging_rule import AveragingRule
from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dml.coefficients.of_rounds import StrategyCoefficients
    from dml.coefficients.strategies import Reduction
    from dml.exchange.exchange import Averaged, Exchange

RENORMALISE = "renormalise"


class StrategyAveraging(AveragingRule):
    """D-PSGD with the coefficients of a strategy.

    Args:
        exchange: over which models go.
        average: by the coefficients.
        coefficients: of each round.
        X: the models, [n, P].
        tensors: first column and shape of each parameter, for strategies that look at models.
        sends_first: models are also sent at the start of a round, for a proximal term.
    """

    def __init__(
        self,
        exchange: "Exchange",
        average: "Averaged",
        coefficients: "StrategyCoefficients",
        X: "Tensor",
        tensors: "Sequence[tuple[int, torch.Size]]",
        sends_first: bool,
    ) -> None:
        super().__init__(exchange, average)
        self._coefficients, self._X, self._tensors = coefficients, X, tensors
        self._sends_first, self._t = sends_first, 0
        coefficients.similarity = self._similarity

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Nodes that do not take part send their models, and keep them."""
        self._t, self._coefficients.taking_part = t, taking_part
        if self._sends_first:
            self.exchange.gather(X, t, taking_part)
        super().before(X, t, taking_part)
        if not self._coefficients.strategy.exchanges:
            self._listeners = np.zeros(len(taking_part), bool)

    def _similarity(self, receiver: NDArray[np.int64], sender: NDArray[np.int64]) -> NDArray[np.float64]:
        """How alike each receiver's model is to the one that it got from each sender, [k]."""
        from dml.coefficients.similarity import cosine_similarity

        received = self.exchange.gather(self._X, self._t, counted=True)
        # Nodes that aggregate one after another ask for their own pairs alone.
        asked = np.isin(received.receiver, receiver)
        assert np.array_equal(received.sender[asked], sender), "the pairs are those whose messages arrived"
        row = received.row[asked]

        def compare(here: NDArray[np.bool_]) -> NDArray[np.float64]:
            return cosine_similarity(received.table, self._tensors, receiver[here], row[here])

        return self.exchange.by_receiver(receiver, compare)


class StrategyReduction(Rule):
    """Each node's new model is a reduction of those of its neighbourhood, column by column.

    Args:
        exchange: over which models go.
        reduction: of the strategy.
    """

    def __init__(self, exchange: "Exchange", reduction: "Reduction") -> None:
        super().__init__(exchange)
        self._reduction = reduction
        self._taking_part: NDArray[np.bool_] | None = None

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Nodes that do not take part send their models, and keep them."""
        self._taking_part = taking_part

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """x_i <- reduction of the models of N(i) that have arrived."""
        import torch

        received = self.exchange.gather(X, t, self._taking_part)
        groups = received.neighbourhoods(self._taking_part)
        for part in received.chunks():
            table = received.table(part)
            # All are computed before any is written, as the table shows X itself.
            new = [self._reduction(table[torch.from_numpy(group.rows)], group.own) for group in groups]
            for group, vectors in zip(groups, new, strict=True):
                X[torch.from_numpy(group.nodes), part] = vectors


def make(setup: Setup) -> Rule:
    """The rule of the strategy that the experiment names."""
    coefficients, exchange = setup.coefficients, setup.exchange
    assert coefficients is not None, "an experiment names a strategy"
    if coefficients.strategy.reduction is not None:
        return StrategyReduction(exchange, coefficients.strategy.reduction)
    average: Averaged
    if coefficients.in_turn:
        looks = coefficients.strategy.looks_at_models
        average = exchange.average_in_turn(coefficients, setup.loss_rule, coefficients.turns, anew=looks)
    else:
        average = exchange.average(coefficients, setup.loss_rule)
    return StrategyAveraging(exchange, average, coefficients, setup.X, setup.tensors, setup.sends_first)


ALGORITHM = Algorithm(
    about="averages with the neighbours by the coefficients of --aggregation_strategy",
    make=make,
    loss_rules=(RENORMALISE, "hold_last", "self_weight"),
    strategies=True,
    participation=True,
    memory=lambda n, m, lossy: 0,
)
