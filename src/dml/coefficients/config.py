"""The part of an experiment's configuration that says how models are aggregated."""

from typing import Annotated

from pydantic import Field, model_validator

from dml.coefficients.schedules import SCHEDULES
from dml.coefficients.strategies import STRATEGIES, Strategy
from dml.section import Section, one_of


class StrategyConfig(Section):
    """Which coefficients an aggregation uses."""

    aggregation_strategy: Annotated[str, one_of(STRATEGIES, "strategy")] = Field(
        "unweighted", description="coefficients of the aggregation: " + ", ".join(STRATEGIES)
    )
    softmax: bool = Field(
        False, description="coefficients are the softmax of the scores; otherwise scores over their sum"
    )
    softmax_coeff: float = Field(10.0, description="s in softmax(s x score); read with --softmax")
    scheduler: Annotated[str, one_of(SCHEDULES, "schedule")] | None = Field(
        None,
        description="how s changes from round to round: " + ", ".join(SCHEDULES) + " (default: it stays)",
    )
    gamma: float = Field(0.95, gt=0, le=1, description="factor on s a round under exp")
    eta_min: float = Field(
        1.0, description="what s never gets below in size under exp, and what it anneals to under CA"
    )
    T_0: int = Field(
        66, ge=1, description="rounds until the first restart of CA, or between changes of sign under osc"
    )
    T_mult: int = Field(1, ge=1, description="factor on the rounds between restarts of CA, at each restart")
    self_weight: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="weight of a node's own model, the others' scaled to the rest (default: the strategy's)",
    )

    @model_validator(mode="after")
    def _has_softmax(self) -> "StrategyConfig":
        if self.described.needs_softmax and not self.softmax:
            raise ValueError(
                f"--aggregation_strategy {self.aggregation_strategy} needs --softmax, to whose s it gives "
                "a sign"
            )
        return self

    @property
    def described(self) -> Strategy:
        """What the strategy says about itself."""
        return STRATEGIES[self.aggregation_strategy]

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        strategy = self.described
        fields = {"aggregation_strategy"} | strategy.reads
        fields |= {"self_weight"} if strategy.exchanges and strategy.coefficients else set()
        if self.softmax and "softmax" in fields:
            fields |= {"softmax_coeff", "scheduler"}
            fields |= SCHEDULES[self.scheduler].reads if self.scheduler else set()
        return fields

    @property
    def steady(self) -> bool:
        """Whether the coefficients are the same in every round in which all links work."""
        return self.described.steady and not (self.softmax and self.scheduler)

    def softmax_at(self, number: int) -> float | None:
        """s of a round, or None to divide by the sum of the scores."""
        if not self.softmax or self.scheduler is None:
            return self.softmax_coeff if self.softmax else None
        schedule = SCHEDULES[self.scheduler]
        return schedule.at(
            self.softmax_coeff, number, **{flag: getattr(self, flag) for flag in schedule.reads}
        )
