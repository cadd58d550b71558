"""The base of the sections that make up a configuration; each stands beside the part that owns it."""

import difflib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic.fields import FieldInfo

from dml.errors import ArgumentError, InputError

MAX_COUNT = 2**31 - 1
"""The largest count: what a 32-bit integer holds."""


def _expand(path: Path) -> Path:
    # Not Path.expanduser, which fails where a container has no home folder.
    return Path(os.path.expanduser(path))


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: ``" (did you mean lr?)"``, or nothing."""
    close = difflib.get_close_matches(name.lower(), [one.lower() for one in known], n=1)
    meant = [one for one in known if one.lower() in close]
    return f" (did you mean {meant[0]}?)" if meant else ""


def one_of(table: Collection[str], what: str) -> AfterValidator:
    """Refuses a name that is not in the table: ``Annotated[str, one_of(MODELS, "model")]``."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"no such {what}{suggestion(name, table)}; there are: {', '.join(table)}")
        return name

    return AfterValidator(check)


def says(right: str) -> WrapValidator:
    """Refuses in these words whatever the type itself refuses: for unions, whose own words are many."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(right) from None

    return WrapValidator(check)


UserPath = Annotated[Path, AfterValidator(_expand)]
"""A path as a user types it, in which ~ stands for the home folder also where no shell saw it."""


@dataclass(frozen=True)
class Positional:
    """Marks a field whose words have no flag on the command line: ``Annotated[UserPath, Positional("DIR")]``.

    Args:
        name: what the help and the errors call it.
    """

    name: str


class Section(BaseModel):
    """Frozen fields with a description each; an unknown name, NaN or infinity is refused."""

    # A section that this call does not use is not built: that takes some milliseconds each.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers: all, unless a section says otherwise."""
        return set(type(self).model_fields)

    @classmethod
    def flags(cls) -> Iterator[tuple[str, FieldInfo]]:
        """Each field by the name of its flag, which is its alias if pydantic reserves the name (``json``)."""
        for name, info in cls.model_fields.items():
            yield info.alias or name, info


def merged(name: str, sections: Iterable[type[Section]]) -> type[Section]:
    """One section with the fields and validators of several, in their order.

    Args:
        name: of the new class.
        sections: their classes; one may be there twice.

    Raises:
        TypeError: two of them define one field in different ways.
    """
    distinct = list(dict.fromkeys(sections))
    leaves = [s for s in distinct if not any(o is not s and issubclass(o, s) for o in distinct)]
    owners: dict[str, type[Section]] = {}
    for section in leaves:
        for flag, info in section.model_fields.items():
            owner = owners.setdefault(flag, section)
            if repr(owner.model_fields[flag]) != repr(info):
                raise TypeError(f"{owner.__name__} and {section.__name__} define {flag} in different ways")
    # pydantic lists the fields of the last base first.
    return create_model(name, __base__=tuple(reversed(leaves)) or Section)


def positional(info: FieldInfo) -> Positional | None:
    """The mark of a field without a flag; None for a flag."""
    return next((mark for mark in info.metadata if isinstance(mark, Positional)), None)


def input_error(error: ValidationError, section: type[Section] = Section) -> InputError:
    """The first fault that pydantic found, in the words of the command line.

    Args:
        error: what pydantic raised.
        section: the class whose fields were wrong, so that its positional fields are named as the help does.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    # A field that takes values of several types has one fault per type.
    same = [
        fault for fault in faults if (fault["loc"][:1], fault["input"]) == (first["loc"][:1], first["input"])
    ]
    rights = list(dict.fromkeys(_right(fault["msg"]) for fault in same))
    right = ", or ".join([rights[0], *(text.removeprefix("must be ") for text in rights[1:])])
    if not first["loc"]:
        # A fault of several fields begins with the flag of one of them.
        flag, _, right = right.removeprefix("--").partition(" ")
        return InputError(flag, True, right)
    flag = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return InputError(flag, first["input"], "there is no such flag; --help lists them")
    mark = next((positional(info) for name, info in section.flags() if name == flag), None)
    return (
        ArgumentError(mark.name, first["input"], right) if mark else InputError(flag, first["input"], right)
    )


_OURS = {
    "Value error, ": "",
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}
"""pydantic's words, and ours for the same."""


def _right(message: str) -> str:
    for theirs, ours in _OURS.items():
        message = message.replace(theirs, ours)
    return message.partition(", unable to")[0]
