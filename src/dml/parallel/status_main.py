"""The command line that prints what a sweep is doing."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dml import command_line
from dml.errors import ArgumentError, DamagedFileError
from dml.field_types import Positional, UserPath
from dml.files import read_text
from dml.messages import count
from dml.parallel.live import FILE, LOG
from dml.section import Section

DESCRIPTION = "Prints what a sweep is doing, from any terminal that sees its folder."

AGAIN = 2.0
"""Seconds between two looks of ``--watch``."""

STALE = 60.0
"""Seconds after which a status that is not renewed counts as left by a call that was killed."""

MAX_BYTES = 100_000_000
"""Size of the largest status that is read; one of a hundred thousand workers has 20 MB."""

MOST = 20
"""How many experiments that run, or have failed, are named."""


class StatusConfig(Section):
    """The options of ``status.py``."""

    folder: Annotated[UserPath, Positional("DIR")] = Field(description="folder of the sweep's results")
    watch: bool = Field(False, description="print it again and again, until the sweep has ended")


def main(argv: Sequence[str]) -> int:
    """Prints the status of a sweep.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code.
    """
    config = command_line.parse_section(StatusConfig, argv, prog="status.py", description=DESCRIPTION)
    path = config.folder / FILE
    while True:
        values = _read(path)
        try:
            age = time.time() - datetime.fromisoformat(values["updated"]).timestamp()
            shown, over = text(values, config.folder, age), values["state"] == "ended" or age > STALE
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{path} is damaged: {error!r}") from None
        if config.watch and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        print(shown, flush=True)
        if over or not config.watch:
            return 0
        time.sleep(AGAIN)
        if not sys.stdout.isatty():
            print()


def text(values: dict[str, Any], folder: Path, age: float) -> str:
    """The status in lines of at most 80 columns, unless a name is longer.

    Args:
        values: the content of the status file.
        folder: the folder of the sweep.
        age: how old the status is [s].
    """
    done, total, skipped = values["done"], values["total"], values["skipped"]
    before = f", {skipped} of them before this call" if skipped else ""
    lines = [f"{folder}: {done} of {count(total, 'experiment')} are done{before}", _state(values, age)]
    if values["elsewhere"]:
        lines.append(
            f"{count(values['elsewhere'], 'experiment')} is run by another call".replace("s is", "s are")
        )
    if values["running"]:
        lines += ["", "running:"]
        now = datetime.fromisoformat(values["updated"]).timestamp()
        for one in values["running"][:MOST]:
            lines.append(f"  {one['name'].removesuffix('.h5')}")
            since = _span(now - one["since"])
            lines.append(f"    round {one['round']} of {one['rounds']} on {one['worker']}, for {since}")
        lines += _more(len(values["running"]))
    if values["failed"]:
        lines += ["", "failed:"]
        lines += [f"  {name}: {why}" for name, why in list(values["failed"].items())[:MOST]]
        lines += _more(len(values["failed"]))
    return "\n".join([*lines, "", f"{folder / LOG}"])


def _state(values: dict[str, Any], age: float) -> str:
    if values["state"] == "ended":
        rest = "the same command continues" if values["left"] else "nothing is left"
        return f"the call on {values['host']} ended at {_clock(values['updated'])}: {rest}"
    if age > STALE:
        return (
            f"written {_span(age)} ago: the call on {values['host']} (process {values['pid']}) was killed, "
            "or its\nhost is not reached; the same command continues"
        )
    job = f" in job {values['job']}" if values["job"] else ""
    left = "" if values["seconds_left"] is None else f", about {_span(values['seconds_left'])} left"
    end = f"; its time ends at {_clock(values['ends_at'])}" if values["ends_at"] else ""
    return f"{values['left']} to go{left}: process {values['pid']} on {values['host']}{job}{end}"


def _more(number: int) -> list[str]:
    return [f"  and {number - MOST} more"] if number > MOST else []


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S on %Y-%m-%d")


def _span(seconds: float) -> str:
    """A span of time in the two largest units that it has."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(read_text(path, MAX_BYTES))
        if values["version"] != 1:
            raise DamagedFileError(f"{path} has version {values['version']!r}, and this program reads 1")
        return values
    except FileNotFoundError:
        right = f"holds no {FILE}, which a sweep writes while it runs; give the folder of its results"
        raise ArgumentError("DIR", path.parent, right) from None
    except OSError as error:
        raise ArgumentError("DIR", path.parent, f"cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from None
