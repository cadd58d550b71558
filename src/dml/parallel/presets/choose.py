"""Chooses cases of sweeps that are lists of single cases, such as ``relaysgd``, by the command line."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dml.errors import InputError
from dml.parallel.table import Table

KEYS = ("algorithm", "topology_file", "label_alpha")
"""The keys that distinguish cases. Learning rate, edge weight and tree depend on their values."""


def choose_cases(
    tables: Sequence[Table], asked: Mapping[str, Collection[Any]]
) -> tuple[list[Table], set[str]]:
    """Chooses the cases that have the values of the command line, for keys in which the cases differ.

    For any other key, the value of the command line replaces that of every case, as in other sweeps. A value
    that no case has cannot: it would get the learning rates that were tuned for the values of all cases.

    Args:
        tables: the tables of the sweep.
        asked: the values of the command line, by key.

    Returns:
        The chosen tables, and the keys by which they were chosen.

    Raises:
        InputError: the cases differ in a key, and none has the value that was asked for.
    """
    kept, served = list(tables), set()
    for key in KEYS:
        values = list(asked.get(key, ()))
        held = [_only(table, key) for table in kept]
        if not values or None in held or len(set(map(str, held))) < 2:
            continue
        for value in values:
            if not any(_same(value, one) for one in held):
                there = ", ".join(dict.fromkeys(map(str, held)))
                right = f"no case of this sweep has it, so it has no learning rate here; there are: {there}"
                raise InputError(key, value, f"{right}; for another one write a --sweep file and --tune_lr")
        served.add(key)
        kept = [
            table for table, one in zip(kept, held, strict=True) if any(_same(value, one) for value in values)
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
