"""Chooses cases of sweeps that are lists of single cases, such as ``relaysgd``, by the command line."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dml.parallel.table import Table

KEYS = ("algorithm", "topology_file", "label_alpha")
"""The keys that distinguish cases. Learning rate, edge weight and tree depend on their values."""


def choose_cases(
    tables: Sequence[Table], asked: Mapping[str, Collection[Any]]
) -> tuple[list[Table], set[str]]:
    """Chooses the cases that have the values of the command line, for keys in which the cases differ.

    For any other key, the value of the command line replaces that of every case, as in other sweeps.

    Args:
        tables: the tables of the sweep.
        asked: the values of the command line, by key.

    Returns:
        The chosen tables, and the keys by which they were chosen.
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
    """The value that a table holds for a key; None if it holds several, or none."""
    values = table.factors.get(key, (table.fixed.get(key),))
    return values[0] if len(values) == 1 else None


def _same(given: Any, held: Any) -> bool:
    """Whether a value of the command line, which may be text, is the value of a table."""
    if str(given) == str(held):
        return True
    try:
        return float(given) == float(held)
    except (TypeError, ValueError):
        return False
