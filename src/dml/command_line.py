"""The command line, generated from the fields of the configuration, and its errors.

tyro reads the words; whether a value is right is pydantic's to say (in :mod:`dml.config`), so every
value reaches it as text and every refusal has one form: the flag, the value, what would be right.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

import tyro
from pydantic.fields import FieldInfo

from dml import messages
from dml.errors import ArgumentError, DamagedFileError, InputError, UnwritableFileError

_NOT_GIVEN = "\0"

PUBLISHED = {"--non_random_data_placement": "--no_random_data_placement"}
"""Published names of switches, and ours."""


def _scalar_metavar(annotation: Any) -> str:
    """How the help names a value of this type."""
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
    return "|".join(_scalar_metavar(part) for part in parts)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(get_origin(part) is tuple for part in get_args(annotation))


def _argument(flag: str, info: FieldInfo, default: str) -> tuple[str, Any, Any]:
    """One field as tyro takes it: booleans are switches, all else is text with a name in the help."""
    hint = "" if default in ("None", "()") else f"(default: {default})"
    text = (info.description or "").replace("%", "%%")
    if info.annotation is bool:
        arg = tyro.conf.arg(help=text, help_behavior_hint=hint)
        return flag, Annotated[bool, arg], dataclasses.field(default=bool(info.default))
    metavar = _scalar_metavar(info.annotation)
    if _is_list(info.annotation):
        arg = tyro.conf.arg(help=text, help_behavior_hint=hint, metavar=f"{metavar} [{metavar} ...]")
        return flag, Annotated[tuple[str, ...], arg], dataclasses.field(default=())
    arg = tyro.conf.arg(help=text, help_behavior_hint=hint, metavar=metavar)
    return flag, Annotated[str, arg], dataclasses.field(default=_NOT_GIVEN)


def parse(
    fields: Iterable[tuple[str, str, FieldInfo]],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The flags that were given, as text, switches and lists of text.

    Args:
        fields: (section, flag, pydantic field) in the order of the help.
        argv: the words after the program's name.
        prog: the program's name.
        description: what ``--help`` says first.
        defaults: text that the help shows as a flag's default in place of the field's own.

    Raises:
        SystemExit: after ``--help`` (0), or on a word that is no flag (2).
    """
    # Not needed by the scripts that call `guard` alone, and slow: it brings in networkx.
    from dml.config import default_of

    shown = defaults or {}
    sections: dict[str, list[tuple[str, Any, Any]]] = {}
    for section, flag, info in fields:
        sections.setdefault(section, []).append(
            _argument(flag, info, shown.get(flag, default_of(flag, info)))
        )
    groups = []
    for section, arguments in sections.items():
        group: Any = dataclasses.make_dataclass(section.capitalize(), arguments)
        flat = Annotated[group, tyro.conf.OmitArgPrefixes]
        groups.append((section, flat, dataclasses.field(default_factory=group)))
    flags_class: Any = dataclasses.make_dataclass("Flags", groups)
    argv = [PUBLISHED.get("--" + word[2:].replace("-", "_"), word) for word in argv]
    parsed = tyro.cli(flags_class, args=argv, prog=prog, description=description, use_underscores=True)
    words = {word.split("=")[0].replace("-", "_") for word in argv if word.startswith("--")}
    given: dict[str, Any] = {}
    for section in sections:
        for flag, value in vars(getattr(parsed, section)).items():
            typed = words & {f"__{flag}", f"__no_{flag}"}
            if typed and value == ():
                raise InputError(flag, None, "name at least one")
            if typed if isinstance(value, bool) else value not in (_NOT_GIVEN, ()):
                given[flag] = value
    return given


def guard(main: Callable[[], int]) -> None:
    """Runs a script's main and exits: 2 after a user's mistake, 1 for a bad file, with one message."""
    messages.to_stderr()
    try:
        code = main()
    except InputError as error:
        dashes = "" if isinstance(error, ArgumentError) else "--"
        print(f"error: {dashes}{error}", file=sys.stderr)
        code = 2
    except (DamagedFileError, UnwritableFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, and nobody to say it to.
        sys.stderr.close()
        code = 0
    sys.exit(code)
