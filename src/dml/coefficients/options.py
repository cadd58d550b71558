"""Options that strategies share. A strategy uses one of these classes, extends one, or has its own."""

from typing import Annotated

from pydantic import Field, model_validator

from dml.coefficients.schedules import SCHEDULES
from dml.errors import InputError
from dml.field_types import MAX_COEFFICIENT, MAX_COUNT, one_of
from dml.section import Section


class StrategyOptions(Section):
    """The options of a strategy that has none; the base of all others."""

    @property
    def steady(self) -> bool:
        """Whether the options have the same effect in every round."""
        return True


class ScoreOptions(StrategyOptions):
    """How scores become coefficients: in proportion to them, or by the softmax of s times them."""

    softmax: bool = Field(
        False,
        description="take the softmax of the scores; otherwise divide the scores by their sum (always on for "
        "strategies by similarity)",
    )
    softmax_coeff: float = Field(
        10.0,
        ge=-MAX_COEFFICIENT,
        le=MAX_COEFFICIENT,
        description="s in softmax(s x score); read with --softmax",
    )
    scheduler: Annotated[str, one_of(SCHEDULES, "schedule")] | None = Field(
        None,
        description="how s changes from round to round: "
        + ", ".join(SCHEDULES)
        + " (default: it does not change)",
    )
    gamma: float = Field(0.95, gt=0, le=1, description="factor on s per round under exp")
    eta_min: float = Field(
        1.0,
        ge=-MAX_COEFFICIENT,
        le=MAX_COEFFICIENT,
        description="lower bound of the size of s under exp, and the value to which s anneals under CA",
    )
    T_0: int = Field(
        66,
        ge=1,
        le=MAX_COUNT,
        description="rounds until the first restart of CA, or between two changes of sign under osc",
    )
    T_mult: int = Field(
        1, ge=1, le=MAX_COUNT, description="factor on the rounds between restarts of CA, at each restart"
    )

    def reads(self) -> set[str]:
        """The options that change the numbers: s and its schedule count only with the softmax."""
        schedules = {flag for schedule in SCHEDULES.values() for flag in schedule.reads}
        unread = schedules | {"softmax_coeff", "scheduler"}
        if self.softmax:
            unread = schedules - (SCHEDULES[self.scheduler].reads if self.scheduler else set())
        return super().reads() - unread

    @property
    def steady(self) -> bool:
        """Whether s is the same in every round."""
        return not (self.softmax and self.scheduler)

    def s(self, number: int) -> float | None:
        """The value of s in a round; None if the scores are divided by their sum."""
        if not self.softmax or self.scheduler is None:
            return self.softmax_coeff if self.softmax else None
        schedule = SCHEDULES[self.scheduler]
        own = {flag: getattr(self, flag) for flag in schedule.reads}
        return schedule.at(self.softmax_coeff, number, **own)


class SimilarityOptions(ScoreOptions):
    """The options of a strategy that chooses the sign of s, and so always uses the softmax."""

    softmax: bool = Field(True, description=ScoreOptions.model_fields["softmax"].description)

    @model_validator(mode="after")
    def _has_softmax(self) -> "SimilarityOptions":
        if not self.softmax:
            right = "must be on, because a strategy by similarity chooses the sign of s"
            raise InputError("softmax", self.softmax, right)
        return self
