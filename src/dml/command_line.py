"""The command line, generated from the fields of a configuration.

argparse only splits the words. pydantic gets every value as text and checks it, so all errors have the same
form: the flag, the value, and what would be right.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dml.errors import (
    ArgumentError,
    InputError,
)
from dml.field_types import positional, suggestion
from dml.section import Section
from dml.validation import input_error

PUBLISHED = {"--non_random_data_placement": "--no_random_data_placement"}
"""The published names of switches, and our names for them."""

_VALUE = "\0"
"""Goes before a value that begins with a dash, which argparse might take for a flag (as it does -1e-3)."""

_RIGHT = {"expected one argument": "needs a value", "expected at least one argument": "name at least one"}
"""argparse's messages about a flag, and our words for them."""

S = TypeVar("S", bound=Section)


def parse(
    fields: Iterable[tuple[str, str, FieldInfo]],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Parses a command line into values by the name of their flag: text, tuples of text, and bools.

    Args:
        fields: (heading in the help, flag, pydantic's field) in the order of the help.
        argv: the words after the program's name.
        prog: the program's name.
        description: the first lines of ``--help``.
        defaults: text that the help shows as a flag's default, instead of the field's own default.

    Raises:
        InputError: a word is not a flag, a flag has no value, or a positional field has no word.
        SystemExit: after ``--help``.
    """
    fields = list(fields)
    parser = _parser(fields, prog, description, defaults or {})
    try:
        found, left = parser.parse_known_intermixed_args([_normal(word) for word in argv])
    except argparse.ArgumentError as error:
        flag = str(error.argument_name).split("/")[0].removeprefix("--")
        if error.message.startswith("ignored explicit argument"):
            raise InputError(flag, None, "takes no value") from None
        raise InputError(flag, None, _RIGHT.get(error.message, error.message)) from None
    if left:
        raise _unknown(_text(left[0]), [flag for _, flag, _ in fields])
    given = {flag: _text(value) for flag, value in vars(found).items()}
    for _, flag, info in fields:
        mark = positional(info)
        if mark and info.is_required() and not given.get(flag):
            wanted = "name at least one" if _is_list(info) else "is missing"
            raise ArgumentError(mark.name, None, f"{wanted} ({info.description})")
    return given


def parse_section(
    section: type[S],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: Mapping[str, str] | None = None,
) -> S:
    """Parses a command line into a section; the other arguments are those of :func:`parse`.

    Raises:
        InputError: a word is not a flag, or a value is wrong.
        SystemExit: after ``--help``.
    """
    fields = [("", flag, info) for flag, info in section.flags()]
    given = parse(fields, argv, prog=prog, description=description, defaults=defaults)
    try:
        return section(**given)
    except ValidationError as error:
        raise input_error(error, section.flags()) from None


class _Switch(argparse.Action):
    """``--x`` and ``--no_x``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string == f"--{self.dest}")


def _parser(
    fields: Sequence[tuple[str, str, FieldInfo]], prog: str, description: str, defaults: Mapping[str, str]
) -> argparse.ArgumentParser:
    marks = [(mark.name, _is_list(info)) for _, _, info in fields if (mark := positional(info))]
    words = [f"{name} [{name} ...]" if many else name for name, many in marks]
    parser = argparse.ArgumentParser(
        prog,
        " ".join(["%(prog)s [-h] [OPTIONS]", *words]),
        description,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
        argument_default=argparse.SUPPRESS,
        exit_on_error=False,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for heading, flag, info in fields:
        default = defaults.get(flag, _default(info))
        about = info.description or ""
        about += "" if default in ("", "None", "()") else f" (default: {default})"
        about = about.replace("%", "%%")
        many: dict[str, Any] = {"nargs": "+"} if _is_list(info) else {}
        if mark := positional(info):
            parser.add_argument(flag, metavar=mark.name, help=about, nargs="*" if many else "?")
            continue
        if heading and heading not in groups:
            groups[heading] = parser.add_argument_group(f"{heading} options")
        group = groups.get(heading, parser)
        if info.annotation is bool:
            group.add_argument(f"--{flag}", f"--no_{flag}", dest=flag, action=_Switch, nargs=0, help=about)
        else:
            group.add_argument(f"--{flag}", metavar=_metavar(info.annotation), help=about, **many)
    return parser


def _default(info: FieldInfo) -> str:
    """The text of the help for a field's own default; empty if it has no fixed default."""
    if info.is_required() or info.default_factory_takes_validated_data:
        return ""
    default = info.get_default(call_default_factory=True)
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _is_list(info: FieldInfo) -> bool:
    return tuple in (get_origin(info.annotation), *map(get_origin, get_args(info.annotation)))


def _metavar(annotation: Any) -> str:
    """The text of the help for a value of this type."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    names = {int: "INT", float: "FLOAT", str: "TEXT"}
    if annotation in names:
        return names[annotation]
    if getattr(annotation, "__name__", "") == "Path":
        return "PATH"
    parts = [part for part in get_args(annotation) if part not in (type(None), ...)]
    if parts and all(isinstance(part, str) for part in parts):
        return "|".join(parts)
    return "|".join(_metavar(part) for part in parts)


def _normal(word: str) -> str:
    """A word in the form for argparse: ``--batch-size=3`` becomes ``--batch_size=3``."""
    if word.startswith("--"):
        flag, equals, value = word[2:].partition("=")
        flag = "--" + flag.replace("-", "_")
        return PUBLISHED.get(flag, flag) + equals + value
    return word if word in ("-h", "-") or not word.startswith("-") else _VALUE + word


def _text(value: Any) -> Any:
    """A value as it was typed, without the mark of :func:`_normal`."""
    if isinstance(value, list):
        return tuple(map(_text, value))
    return value.removeprefix(_VALUE) if isinstance(value, str) else value


def _unknown(word: str, flags: Sequence[str]) -> InputError:
    if not word.startswith("--"):
        return ArgumentError(word, None, "does not belong to a flag; --help lists the flags")
    word = word.partition("=")[0]
    meant = suggestion(word, [f"--{flag}" for flag in flags])
    return InputError(word.removeprefix("--"), None, f"there is no such flag{meant}; --help lists them")
