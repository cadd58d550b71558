"""Sections that are put together from those of several parts."""

import pytest
from pydantic import Field, ValidationError, field_validator

from dml.section import Section, merged


class Width(Section):
    width: int = Field(3, description="the width")

    @field_validator("width")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError("must be odd")
        return width


class WidthAndHeight(Width):
    height: int = Field(4, description="the height")


class Depth(Section):
    depth: int = Field(5, description="the depth")

    def reads(self) -> set[str]:
        return set()


class OtherWidth(Section):
    width: int = Field(7, description="the width")


def test_a_merged_section_has_the_fields_and_validators_of_all():
    both = merged("Both", [Section, Width, Depth, WidthAndHeight, Depth])
    assert list(both.model_fields) == ["depth", "width", "height"]
    assert both().model_dump() == {"width": 3, "height": 4, "depth": 5}
    with pytest.raises(ValidationError, match="must be odd"):
        both(width=2)
    assert merged("None", [Section])().model_dump() == {}


def test_one_field_with_two_meanings_is_an_error_of_the_programmer():
    with pytest.raises(TypeError, match="Width and OtherWidth define width in different ways"):
        merged("Both", [Width, OtherWidth])


def test_a_section_reads_all_its_fields_unless_it_says_otherwise():
    assert WidthAndHeight().reads() == {"width", "height"}
    assert Depth().reads() == set()
