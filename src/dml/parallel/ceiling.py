"""What ``--ceiling`` adds to a sweep: centralized training, Traversal Learning, and FedAvg."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dml.algorithms.registry import ALGORITHMS, DEFAULT
from dml.coefficients.config import StrategyConfig
from dml.errors import InputError
from dml.parallel.table import Table
from dml.results.config import REFERENCES

_OF_STRATEGIES = frozenset(flag for flag, _ in StrategyConfig.flags())
"""Keys that the references do not read. Crossing them would make the same experiments again and again."""


def with_ceiling(tables: Sequence[Table]) -> list[Table]:
    """Adds the references to each table that has algorithms with rounds, and lets all start from one model.

    Tables of asynchronous algorithms get none, as they may have other numbers of rounds. On a graph that is
    not connected, the references that send messages along its edges are left out.

    Args:
        tables: the tables of the sweep, with the flags of the command line.

    Raises:
        InputError: no table has such an algorithm, or one has different starts.
    """
    made = []
    for table in tables:
        init = table.factors.get("init", (table.fixed.get("init", "same"),))
        if {*init} != {"same"}:
            raise InputError("init", init, "excludes --ceiling, which needs one start for all: leave it out")
        same = table.replaced({}, {"init": "same"})
        made.append(same)
        if any(map(_has_rounds, table.factors.get("algorithm", (table.fixed.get("algorithm", DEFAULT),)))):
            references = same.replaced({"algorithm": REFERENCES}, {}, _OF_STRATEGIES)
            made.append(dataclasses.replace(references, only_where_admitted=True))
    if len(made) == len(tables):
        right = "no experiment of this sweep has rounds, in which its references could be compared"
        raise InputError("ceiling", True, right)
    return made


def _has_rounds(name: Any) -> bool:
    """Whether an algorithm has rounds. Names of none are refused when their experiments are made."""
    return name in ALGORITHMS and not ALGORITHMS[name].events
