"""Types of fields that many sections share, and marks on fields."""

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.fields import FieldInfo

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
            raise ValueError(f"no such {what}{suggestion(name, table)}; choose one of: {', '.join(table)}")
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


def positional(info: FieldInfo) -> Positional | None:
    """The mark of a field without a flag; None for a flag."""
    return next((mark for mark in info.metadata if isinstance(mark, Positional)), None)
