"""A sweep that is a list of single cases, each with values of its own that belong together."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dml.parallel.table import Table

KEYS = ("algorithm", "topology_file", "label_alpha")
"""By which cases are told apart: a learning rate, an edge weight or a tree goes with one of each."""


def narrowed(tables: Sequence[Table], asked: Mapping[str, Collection[Any]]) -> tuple[list[Table], set[str]]:
    """The cases that the command line names, where it names some of those that there are.

    Otherwise a value replaces that of the cases, as in any sweep: in one of two cases it may be wrong.

    Args:
        tables: of the sweep.
        asked: values of the command line by key.

    Returns:
        The tables left, and the keys by which they were chosen.
    """
    kept, served = list(tables), set()
    for key in KEYS:
        values = list(asked.get(key, ()))
        held = [_only(table, key) for table in kept]
        if not values or None in held or len(set(map(str, held))) < 2:
            continue
        if all(any(_same(value, one) for one in held) for value in values):
            served.add(key)
            kept = [
                table
                for table, one in zip(kept, held, strict=True)
                if any(_same(value, one) for value in values)
            ]
    return kept, served


def _only(table: Table, key: str) -> Any:
    """The one value that a table holds for a key; None where it holds several, or none."""
    values = table.factors.get(key, (table.fixed.get(key),))
    return values[0] if len(values) == 1 else None


def _same(given: Any, held: Any) -> bool:
    """Whether a value of the command line, which may be text, is one of a table."""
    if str(given) == str(held):
        return True
    try:
        return float(given) == float(held)
    except (TypeError, ValueError):
        return False
