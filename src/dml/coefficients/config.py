"""The part of an experiment's configuration that says how models are aggregated."""

from pydantic import Field, field_validator, model_validator

from dml.coefficients.strategies import STRATEGIES
from dml.section import Section


class StrategyConfig(Section):
    """Which coefficients an aggregation uses, and who takes part."""

    aggregation_strategy: str = Field(
        "unweighted", description="coefficients of the aggregation: " + ", ".join(STRATEGIES)
    )
    softmax: bool = Field(
        False, description="coefficients are the softmax of the scores; otherwise scores over their sum"
    )
    softmax_coeff: float = Field(10.0, description="s in softmax(s x score); read with --softmax")
    participation: float = Field(1.0, gt=0, le=1, description="share of the nodes that take part in a round")

    @field_validator("aggregation_strategy")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError("no such strategy; there are: " + ", ".join(STRATEGIES))
        return name

    @model_validator(mode="after")
    def _has_softmax(self) -> "StrategyConfig":
        if STRATEGIES[self.aggregation_strategy].needs_softmax and not self.softmax:
            raise ValueError(
                f"--aggregation_strategy {self.aggregation_strategy} needs --softmax, to whose s it gives "
                "a sign"
            )
        return self

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        fields = {"aggregation_strategy", "participation"} | STRATEGIES[self.aggregation_strategy].reads
        return fields | ({"softmax_coeff"} if self.softmax and "softmax" in fields else set())
