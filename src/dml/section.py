"""The base class of the sections of a configuration; each section is in the package of its owner."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import CoreSchema, with_info_plain_validator_function

from dml.errors import InputError
from dml.field_types import holds_numbers
from dml.plain_numbers import odd_number
from dml.validation import input_error


class HasOptions(Protocol):
    """A part of the program with its own flags, such as an algorithm, a data set or a model."""

    @property
    def options(self) -> "type[Section]":
        """The section of its flags."""


@dataclass(frozen=True)
class ChosenBy:
    """Marks a field that holds the options of a part, which another field names.

    ``options: Annotated[SerializeAsAny[Section], ChosenBy("model", MODELS)] = Section()``

    On the command line, in files and as keyword arguments, these options are given like the section's own
    fields. Options of parts that are not chosen are left out.

    Args:
        field: the name of the other field, which must come before this one.
        parts: all parts by name.
        find: finds the part for a name that is not in the table; raises KeyError if there is none.
    """

    field: str
    parts: Mapping[str, HasOptions]
    find: Callable[[str], HasOptions] | None = None

    def options(self, name: object) -> "type[Section]":
        """The options of the part with a name; an empty section if there is no such part."""
        try:
            return (self.find or self.parts.__getitem__)(str(name)).options
        except KeyError:
            return Section

    def flags(self) -> "Mapping[str, FieldInfo]":
        """The flags of all parts by name. If several parts have the same flag, the first one counts."""
        return _flags_of(tuple(dict.fromkeys(part.options for part in self.parts.values())))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialization = handler(source).get("serialization")
        return with_info_plain_validator_function(self._checked, serialization=serialization)

    def _checked(self, value: Any, info: ValidationInfo) -> "Section":
        options = self.options(info.data.get(self.field))
        if isinstance(value, options):
            return value
        try:
            return options.model_validate(value)
        except ValidationError as error:
            raise input_error(error, options.flags()) from None


@cache
def _flags_of(sections: "tuple[type[Section], ...]") -> "Mapping[str, FieldInfo]":
    found: dict[str, FieldInfo] = {}
    for section in sections:
        for flag, info in section.flags():
            found.setdefault(flag, info)
    return found


@cache
def _choices(section: "type[Section]") -> Mapping[str, ChosenBy]:
    return {
        name: mark
        for name, info in section.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, ChosenBy)
    }


@cache
def _numbers(section: "type[Section]") -> frozenset[str]:
    """The flags of a section's own fields that hold numbers."""
    return frozenset(
        info.alias or name for name, info in section.model_fields.items() if holds_numbers(info.annotation)
    )


def _check_numbers(section: "type[Section]", values: Mapping[str, Any]) -> None:
    for flag in _numbers(section) & values.keys():
        given = values[flag]
        for word in given if isinstance(given, tuple | list) else (given,):
            objection = odd_number(word) if isinstance(word, str) else None
            if objection:
                raise InputError(flag, word, objection)


class Section(BaseModel):
    """Frozen fields with descriptions. Unknown names, NaN, infinity and numbers like 1_000 are refused."""

    # Sections that this call does not use are not built, which saves some milliseconds each.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def choices(cls) -> Mapping[str, ChosenBy]:
        """The fields that hold the options of a part."""
        return _choices(cls)

    @classmethod
    def flags(cls) -> Iterator[tuple[str, FieldInfo]]:
        """Every field by the name of its flag, and the options of all parts that may be chosen.

        The name of a flag is the alias of the field if pydantic reserves the name (``json``).
        """
        choices = cls.choices()
        for name, info in cls.model_fields.items():
            if name in choices:
                yield from choices[name].flags().items()
            else:
                yield info.alias or name, info

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, values: Any) -> Any:
        """Gives the options among the values to the fields that hold them."""
        if isinstance(values, dict):
            _check_numbers(cls, values)
        choices = cls.choices() if isinstance(values, dict) else {}
        for name, mark in choices.items():
            if name not in values:
                chosen = values.get(mark.field, cls.model_fields[mark.field].default)
                own = _flags_of((mark.options(chosen),))
                options = {k: v for k, v in values.items() if k in own}
                others = mark.flags()
                values = {k: v for k, v in values.items() if k not in own and k not in others}
                values[name] = options
        return values

    def flat(self) -> dict[str, Any]:
        """All values by the name of their field, as JSON values, including the options of parts."""
        values = self.model_dump(mode="json")
        for name in self.choices():
            values |= values.pop(name)
        return values

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers: all, unless a section says otherwise."""
        return type(self).model_fields.keys() - self.choices().keys() | self.options_read()

    def options_read(self) -> set[str]:
        """The options of the chosen parts that change this experiment's numbers."""
        return {flag for name in self.choices() for flag in getattr(self, name).reads()}
