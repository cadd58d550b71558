"""Sections: pydantic's refusals in the words of the command line."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from dml.errors import ArgumentError, InputError
from dml.field_types import Positional, one_of, positional, suggestion
from dml.section import ChosenBy, Section
from dml.validation import input_error


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
    return input_error(refused.value, Example.flags())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": "0"}, "every 0: must be 'epoch', or at least 1"),
        ({"every": "x"}, "every x: must be 'epoch', or a valid integer"),
        ({"kind": "small"}, "kind small: no such kind (did you mean Small?); choose one of: big, Small"),
        ({"kind": "z"}, "kind z: no such kind; choose one of: big, Small"),
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


class Width(Section):
    """The options of a part."""

    width: int = Field(3, ge=1, description="the width")


class Depth(Section):
    """Those of another one, which does not always read them, and has another default for one."""

    depth: int = 5
    width: int = 7

    def reads(self) -> set[str]:
        return {"depth"}


class Part:
    """Something with flags of its own."""

    def __init__(self, options: type[Section]) -> None:
        self.options = options


PARTS = {"wide": Part(Width), "deep": Part(Depth), "plain": Part(Section)}


def find(name: str) -> Part:
    """The part of a name, or of any that begins with a slash."""
    return PARTS["wide"] if name.startswith("/") else PARTS[name]


class Chosen(Section):
    """A field that names a part, and one with its options."""

    part: str = "wide"
    options: Annotated[SerializeAsAny[Section], ChosenBy("part", PARTS, find)] = Section()
    last: int = 1


def test_options_are_those_of_the_part_that_is_named() -> None:
    assert Chosen().options == Width()
    assert Chosen(part="deep").options == Depth()
    assert Chosen(part="plain").options == Section()
    assert Chosen(part="/a/folder").options == Width()


def test_options_stand_among_the_fields_by_their_own_names() -> None:
    made = Chosen.model_validate({"part": "deep", "depth": 9, "last": 2})
    assert made.options == Depth(depth=9)
    assert made.flat() == {"part": "deep", "last": 2, "depth": 9, "width": 7}
    assert Chosen.model_validate(made.flat()) == made
    assert Chosen.model_validate(made.model_dump()) == made
    assert [flag for flag, _ in Chosen.flags()] == ["part", "width", "depth", "last"]


def test_options_of_other_parts_are_left_out() -> None:
    assert Chosen.model_validate({"part": "plain", "width": 5}) == Chosen(part="plain")
    assert Chosen.model_validate({"part": "wide", "depth": 5}) == Chosen()


def test_the_chosen_options_say_what_they_read() -> None:
    assert Chosen().reads() == {"part", "last", "width"}
    assert Chosen(part="deep").reads() == {"part", "last", "depth"}
    assert Width().reads() == {"width"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"width": 0}, "width 0: must be at least 1"),
        ({"height": 0}, "height 0: there is no such flag; --help lists them"),
        ({"part": 3}, "part 3: must be a valid string"),
    ],
)
def test_wrong_options_are_named_as_any_field(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Chosen.model_validate(values)
    assert str(input_error(refused.value, Chosen.flags())) == told
