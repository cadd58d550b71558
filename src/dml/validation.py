"""Turns pydantic's errors into errors in the words of the command line."""

import re
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dml.errors import ArgumentError, InputError
from dml.field_types import positional


def input_error(error: ValidationError, flags: Iterable[tuple[str, FieldInfo]] = ()) -> InputError:
    """Turns the first fault that pydantic found into an error in the words of the command line.

    Args:
        error: the error that pydantic raised.
        flags: all fields by flag, from ``Section.flags()``; with them, errors name positional fields as the
            help does.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    # A field that accepts several types has one fault per type.
    same = [
        fault for fault in faults if (fault["loc"][:1], fault["input"]) == (first["loc"][:1], first["input"])
    ]
    rights = list(dict.fromkeys(_right(fault["msg"]) for fault in same))
    right = ", or ".join([rights[0], *(text.removeprefix("must be ") for text in rights[1:])])
    if not first["loc"]:
        # A message about several fields begins with the flag of one of them.
        flag, _, right = right.removeprefix("--").partition(" ")
        return InputError(flag, True, right)
    flag = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return InputError(flag, first["input"], "there is no such flag; --help lists them")
    mark = next((positional(info) for name, info in flags if name == flag), None)
    return (
        ArgumentError(mark.name, first["input"], right) if mark else InputError(flag, first["input"], right)
    )


_OURS = {
    "Value error, ": "",
    "Unable to parse input string as an integer, exceeded maximum size": "must have fewer digits",
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}
"""pydantic's words, and our words for the same."""


def _right(message: str) -> str:
    for theirs, ours in _OURS.items():
        message = message.replace(theirs, ours)
    message = re.sub(r"\b1(0{9,})\b", lambda number: f"1e{len(number[1])}", message)
    return message.partition(", unable to")[0]
