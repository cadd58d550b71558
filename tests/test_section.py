"""Sections: pydantic's refusals in the words of the command line."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from dml.errors import ArgumentError, InputError
from dml.section import Positional, Section, input_error, one_of, positional, suggestion


class Example(Section):
    """Fields that can be wrong in different ways."""

    names: Annotated[tuple[str, ...], Positional("NAME")] = Field((), max_length=1)
    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    kind: Annotated[str, one_of({"big": 1, "Small": 2}, "kind")] = "big"
    low: int = Field(0, ge=0, le=9)
    high: float = Field(1.0, gt=0, lt=10)
    as_json: bool = Field(False, alias="json")

    @model_validator(mode="after")
    def _ordered(self) -> "Example":
        if self.low > self.high:
            raise InputError("low", self.low, "must not be above --high")
        if self.low == 7:
            raise ValueError("--low is unlucky")
        return self


def refusal(**values: object) -> InputError:
    with pytest.raises(ValidationError) as refused:
        Example(**values)
    return input_error(refused.value, Example)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": "0"}, "every 0: must be 'epoch', or at least 1"),
        ({"every": "x"}, "every x: must be 'epoch', or a valid integer"),
        ({"kind": "small"}, "kind small: no such kind (did you mean Small?); there are: big, Small"),
        ({"kind": "z"}, "kind z: no such kind; there are: big, Small"),
        ({"low": "-1"}, "low -1: must be at least 0"),
        ({"low": "10"}, "low 10: must be at most 9"),
        ({"high": "0"}, "high 0: must be above 0"),
        ({"high": "10"}, "high 10: must be below 10"),
        ({"high": "inf"}, "high inf: must be a finite number"),
        ({"json": "maybe"}, "json maybe: must be a valid boolean"),
        ({"lowest": "1"}, "lowest 1: there is no such flag; --help lists them"),
        ({"low": "3", "high": "2"}, "low 3: must not be above --high"),
        ({"low": "7", "high": "8"}, "low: is unlucky"),
    ],
)
def test_the_first_fault_is_told_in_plain_words(values: dict[str, object], message: str) -> None:
    error = refusal(**values)
    assert str(error) == message
    assert not isinstance(error, ArgumentError)


def test_a_positional_field_is_called_what_the_help_calls_it() -> None:
    error = refusal(names=("a", "b"))
    assert isinstance(error, ArgumentError)
    assert (error.field, error.value) == ("NAME", ("a", "b"))
    fields = dict(Example.flags())
    assert list(fields) == ["names", "every", "kind", "low", "high", "json"]
    assert positional(fields["names"]) == Positional("NAME")
    assert positional(fields["low"]) is None


def test_a_close_name_is_suggested() -> None:
    assert suggestion("--ROUNDS", ["--rounds", "--seed"]) == " (did you mean --rounds?)"
    assert suggestion("--x", ["--rounds", "--seed"]) == ""
