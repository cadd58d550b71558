"""Rows of the table, and how times are taken: interleaved, so that other load on the machine meets all."""

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: was measured.
        measured: the number, which is compared with the goal.
        unit: printed behind it: x, %, s.
        goal: the most it may be, or None where it is only reported.
        note: the absolute numbers behind it.
        at_least: the goal is the least that it may be.
    """

    what: str
    measured: float
    unit: str
    goal: float | None = None
    note: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is as its goal says."""
        if self.goal is None:
            return True
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


def line(row: Row) -> str:
    """The row as the table prints it; a dash for what could not be measured."""
    goal, verdict = "", ""
    if row.goal is not None:
        goal = f"{'>=' if row.at_least else '<='} {row.goal:g} {row.unit}"
        verdict = "ok" if row.met else "miss"
    measured = "-" if math.isnan(row.measured) else f"{row.measured:.2f} {row.unit}"
    return f"{row.what:<47}{measured:>10}{goal:>11} {verdict}".rstrip() + (
        f"\n    {row.note}" if row.note else ""
    )


def interleaved(cases: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case in each of some repeats, after one turn that is not counted.

    Every repeat runs each case once, in turn, forwards and then backwards, so that none is always
    the one that finds another's data in the cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for repeat in range(repeats):
        for name, case in list(cases.items())[:: -1 if repeat % 2 else 1]:
            started = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over the repeats of ours / theirs, each pair taken right after one another."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def median(seconds: list[float]) -> float:
    """The median."""
    return statistics.median(seconds)


def run(*words: str, expect: int = 0) -> str:
    """Runs a Python program of the repository with this Python; its stdout.

    Raises:
        RuntimeError: it ended with another exit code than expected.
    """
    # Without a terminal's width and colours, as in a job; a bar costs nothing there.
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != expect:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
