"""Compares methods on data with increasing label skew, as in table 2 of Vogels et al. (2021).

One row per method and one column per Dirichlet concentration of the labels: the accuracy of the worst node
after the last round, over the seeds, and the learning rate.
"""

import json
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import pandas as pd

from dml.algorithms.registry import ALGORITHMS
from dml.results.grouping import TUNED
from dml.results.tables import sort_key


@dataclass(frozen=True)
class Cell:
    """The runs of one method at one concentration.

    Args:
        mean: the mean accuracy of the worst node, in [0, 1]; NaN if a run has none.
        std: its standard deviation over the runs; NaN for one run.
        learning_rates: the learning rates of the runs, each once.
    """

    mean: float
    std: float
    learning_rates: tuple[float, ...]


@dataclass(frozen=True)
class WorstNodeTable:
    """The methods of one group of experiments.

    Args:
        heading: the data set, the rounds, and the settings in which tables differ.
        alphas: the concentrations, from even to skewed labels.
        topologies: for each topology and method, one cell per concentration; None if there is no run, or, at
            equal cost, if one of the runs has not reached the budget.
    """

    heading: str
    alphas: tuple[float, ...]
    topologies: Mapping[str, Mapping[str, tuple[Cell | None, ...]]]


def worst_node_tables(runs: pd.DataFrame) -> tuple[WorstNodeTable, ...]:
    """Compares algorithms with other methods, or at several concentrations, if a folder has several.

    Args:
        runs: the table of :class:`~dml.results.runs.Runs`.
    """
    parts = {
        str(settings): part.assign(method=_names(part))
        for settings, part in runs.groupby(runs["settings"].map(_shared), sort=False)
        if part["is_algorithm"].any()
    }
    compared = {s: p for s, p in parts.items() if max(p["alpha"].nunique(), p["method"].nunique()) > 1}
    return tuple(_table(_heading(settings, compared), part) for settings, part in compared.items())


def _table(heading: str, part: pd.DataFrame) -> WorstNodeTable:
    alphas = tuple(sorted(part["alpha"].unique(), reverse=True))
    return WorstNodeTable(
        heading,
        alphas,
        {
            str(topology): {
                str(method): tuple(_cell(own[own["alpha"] == alpha]) for alpha in alphas)
                for method, own in sorted(on_graph.groupby("method"), key=_place)
            }
            for topology, on_graph in part.groupby("topology", sort=False)
        },
    )


def _place(method: tuple[Hashable, pd.DataFrame]) -> str:
    """Methods are in the order of the tables of strategies."""
    return sort_key(str(method[0]))


def _cell(own: pd.DataFrame) -> Cell | None:
    worst = own["worst_test"]
    # At equal cost, a run without a value has sent nothing, or ends before the budget.
    if own.empty or (worst.isna().any() and "auc_over" in json.loads(str(own["settings"].iloc[0]))):
        return None
    mean, std = worst.mean(skipna=False), worst.std(ddof=1, skipna=False)
    return Cell(float(mean), float(std), tuple(own["lr"].unique()))


@cache
def _shared(settings: str) -> str:
    """The settings that all runs of a table share. The others are its columns, or are in its cells."""
    own = ("label_alpha", *TUNED)
    return json.dumps({k: v for k, v in json.loads(settings).items() if k not in own}, sort_keys=True)


def _heading(settings: str, others: Iterable[str]) -> str:
    """The data set, the rounds, and the settings in which tables differ."""
    shown, every = json.loads(settings), [json.loads(other) for other in others]
    fields = sorted({field for other in every for field in other} - {"dataset", "rounds", "auc_over"})
    differing = [field for field in fields if len({json.dumps(other.get(field)) for other in every}) > 1]
    words = [f"{field} {shown.get(field, '-')}" for field in differing]
    done = f"at equal {shown['auc_over']}" if "auc_over" in shown else f"{shown['rounds']} rounds"
    return ", ".join([shown["dataset"], done, *words])


def _names(part: pd.DataFrame) -> "pd.Series[str]":
    """The name of each run's method: a short one where it is unambiguous, otherwise with the variant."""
    own_momentum = part["algorithm"].map(_own_momentum)
    added = part["momentum"].gt(0) & (part["momentum"] != own_momentum)
    short = part["algorithm"].where(part["is_algorithm"], part["strategy"])
    short = short + added.map({True: " + momentum", False: ""})
    # The cells show learning rates. A short name is enough if the rest of the variant is unambiguous.
    full = part["strategy"].str.replace(r" lr=\S+", "", regex=True)
    several = full.groupby([part["topology"], short]).transform("nunique") > 1
    return short.where(~several, full)


def _own_momentum(algorithm: str) -> float:
    """The default momentum of an algorithm; NaN if it does not set one."""
    described = ALGORITHMS.get(algorithm)
    return float(described.defaults.get("momentum", math.nan)) if described else math.nan
