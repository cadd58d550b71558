"""The base of the sections that make up a configuration; each stands next to the part that owns it."""

import difflib
import os
from collections.abc import Collection, Iterable
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

from dml.errors import InputError

MAX_COUNT = 2**31 - 1
"""The largest count: what a 32-bit integer holds."""


def _expand(path: Path) -> Path:
    # Not Path.expanduser, which fails where a container has no home folder.
    return Path(os.path.expanduser(path))


def one_of(table: Collection[str], what: str) -> AfterValidator:
    """Refuses a name that is not in the table: ``Annotated[str, one_of(MODELS, "model")]``."""

    def check(name: str) -> str:
        if name not in table:
            close = difflib.get_close_matches(name.lower(), [known.lower() for known in table], n=1)
            meant = [known for known in table if known.lower() in close]
            hint = f" (did you mean {meant[0]}?)" if meant else ""
            raise ValueError(f"no such {what}{hint}; there are: {', '.join(table)}")
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


class Section(BaseModel):
    """Frozen fields with a description each; an unknown name, NaN or infinity is refused."""

    # A section that this call does not use is not built: that takes some milliseconds each.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers: all, unless a section says otherwise."""
        return set(type(self).model_fields)


def input_error(error: ValidationError) -> InputError:
    """The first fault that pydantic found, in the words of the command line."""
    first = error.errors(include_url=False)[0]
    right = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "value_error" and right.startswith("--"):
        # A fault of the whole section names the switch that is wrong.
        field, _, right = right.removeprefix("--").partition(" ")
        return InputError(field, True, right)
    names = [
        part
        for part in first["loc"]
        if isinstance(part, str) and not part.startswith(("literal", "constrained"))
    ]
    if first["type"] == "extra_forbidden":
        return InputError(names[-1], first["input"], "there is no such flag; --help lists them")
    return InputError(names[0], first["input"], right)


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
