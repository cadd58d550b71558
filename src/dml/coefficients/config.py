"""The part of an experiment's configuration that says how models are aggregated."""

from typing import Annotated

from pydantic import Field, SerializeAsAny

from dml.coefficients.options import StrategyOptions
from dml.coefficients.order import AggregationOrder
from dml.coefficients.strategies import STRATEGIES, Strategy
from dml.field_types import one_of
from dml.section import ChosenBy, Section


class StrategyConfig(Section):
    """The strategy that gives the coefficients of an aggregation."""

    aggregation_strategy: Annotated[str, one_of(STRATEGIES, "strategy")] = Field(
        "unweighted", description="the coefficients of the aggregation: " + ", ".join(STRATEGIES)
    )
    options: Annotated[SerializeAsAny[StrategyOptions], ChosenBy("aggregation_strategy", STRATEGIES)] = (
        StrategyOptions()
    )
    self_weight: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="weight of a node's own model; the other weights are scaled to the rest (default: that "
        "of the strategy)",
    )

    aggregation_order: AggregationOrder = Field(
        "simultaneous",
        description="whether nodes replace their models all at once, or one after another, by ascending "
        "number or as neighbourhoods end their training; the published code does the last by accident",
    )

    @property
    def described(self) -> Strategy:
        """The description of the strategy."""
        return STRATEGIES[self.aggregation_strategy]

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        strategy = self.described
        own = {"self_weight", "aggregation_order"} if strategy.exchanges and strategy.coefficients else set()
        return {"aggregation_strategy"} | self.options_read() | own

    @property
    def steady(self) -> bool:
        """Whether the coefficients are the same in every round in which all links work."""
        return self.described.steady and self.options.steady
