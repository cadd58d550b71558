"""The tables of strategies as data: their rows and columns, and the meaning of the columns."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from dml.clock.config import OF_ROUNDS
from dml.messages import count
from dml.results.config import Over
from dml.results.grouping import TUNED, control_of
from dml.results.run_text import size
from dml.results.runs import VALUES, without_rank
from dml.results.tables import BASELINE

Row = Mapping[str, Any]
"""One strategy on one topology: the values of all columns of :func:`dml.results.tables.summarise`."""


class Kind(Enum):
    """The kind of a column's values, which determines how they are shown."""

    COUNT = "count"
    """A whole number."""

    AUC = "auc"
    """A sum over measurements. The column ``<name>_std`` holds its standard deviation over runs."""

    ACCURACY = "accuracy"
    """A number between 0 and 1."""

    SECONDS = "seconds"
    """Simulated seconds."""

    PAIRED = "paired"
    """A mean difference over pairs. The columns ``pairs`` and ``pairs_above`` count the pairs, and those with
    a positive difference."""


@dataclass(frozen=True)
class Column:
    """A column that is shown.

    Args:
        name: the name of its values in a row.
        heading: the name that a reader sees.
        kind: the kind of its values.
    """

    name: str
    heading: str
    kind: Kind


_RUNS = Column("runs", "runs", Kind.COUNT)
_IID_AUC, _IID = Column("auc_test", "IID AUC", Kind.AUC), Column("final_test", "IID", Kind.ACCURACY)
_ASR_AUC = Column("auc_asr", "asr AUC", Kind.AUC)
_SIMULATED = Column("simulated_s", "time", Kind.SECONDS)
_OOD_COLUMNS = (
    _RUNS,
    _IID_AUC,
    Column("auc_ood", "OOD AUC", Kind.AUC),
    _ASR_AUC,
    _IID,
    Column("final_ood", "OOD", Kind.ACCURACY),
    Column("worst_ood", "worst", Kind.ACCURACY),
    Column("over_unweighted", f"vs {BASELINE}", Kind.PAIRED),
)
_IID_COLUMNS = (_RUNS, _IID_AUC, _IID, Column("worst_test", "worst", Kind.ACCURACY))

_ALWAYS = {"dataset", "rounds", "epochs", "local_steps", "eval_every", "ood", "auc_over"}
"""Settings that every heading contains in its own words."""


@dataclass(frozen=True)
class TopologyRows:
    """The part of a table about one topology.

    Args:
        topology: the name of the topology.
        rows: one row per strategy.
        control: the controls of these strategies, pooled over all their runs; None without controls.
        budget: the cost until which AUCs are formed, in words; empty if they are sums over measurements.
    """

    topology: str
    rows: tuple[Row, ...]
    control: Row | None
    budget: str = ""


@dataclass(frozen=True)
class StrategyTable:
    """The strategies and algorithms of experiments that have the same settings.

    Args:
        heading: the settings in words: those that every heading contains, and those that differ by table.
        auc: the column of the AUC to compare: ``auc_ood``, or ``auc_test`` without OOD data.
        columns: the columns to show, from left to right.
        topologies: the rows, by topology.
        over: over what AUCs are formed.
    """

    heading: str
    auc: str
    columns: tuple[Column, ...]
    topologies: tuple[TopologyRows, ...]
    over: Over = "rounds"

    @property
    def rows(self) -> list[Row]:
        """The rows of all topologies, without controls."""
        return [row for part in self.topologies for row in part.rows]


def strategy_tables(summary: pd.DataFrame) -> tuple[StrategyTable, ...]:
    """Builds one table per settings.

    Controls that give other experiments their floor do not have their own table: they are one row below these
    experiments. Other experiments without OOD data have only columns of the IID test set.

    Args:
        summary: the summary from :func:`dml.results.tables.summarise`.
    """
    all_settings = [json.loads(settings) for settings in summary["settings"].unique()]
    made = []
    for text, part in summary[~_is_floor(summary)].groupby("settings", sort=False):
        settings = json.loads(str(text))
        over: Over = settings.get("auc_over", "rounds")
        topologies = tuple(
            TopologyRows(str(topology), _records(rows), _control(rows, summary), _budget(rows, over))
            for topology, rows in part.groupby("topology", sort=False)
        )
        auc = "auc_ood" if settings["ood"] else "auc_test"
        columns: tuple[Column, ...] = _OOD_COLUMNS if settings["ood"] else _IID_COLUMNS
        if settings.keys() & {*OF_ROUNDS}:
            # Somebody has chosen a clock. There is no room for both in 80 columns.
            timed = tuple(_SIMULATED if column is _ASR_AUC else column for column in columns)
            columns = timed if _SIMULATED in timed else (*columns, _SIMULATED)
        made.append(StrategyTable(heading(settings, all_settings), auc, columns, topologies, over))
    return tuple(made)


def legend(tables: Sequence[StrategyTable], single: Sequence[str] = ()) -> dict[str, str]:
    """The terms in the tables and their meanings, without terms that no table uses.

    Args:
        tables: the tables.
        single: the algorithms whose runs are judged by the model that they deliver.
    """
    aucs = {table.auc for table in tables}
    shown = {column.name for table in tables for column in table.columns}
    over = "seeds and OOD nodes" if "auc_ood" in aucs else "seeds"
    costs = [cost for cost in ("seconds", "bytes") if any(table.over == cost for table in tables)]
    means = "sum over all measurements of the mean accuracy of the nodes"
    if costs:
        means = (
            "mean accuracy in percent, of the nodes or of the model that is delivered, from 0 to the "
            f"{costs[0]} above each table; an accuracy holds from its measurement to the next one, and is 0 "
            "before the first"
        )
    terms = {"AUC": f"{means}; ± is the standard deviation over runs ({over})"}
    when = "at the last measurement within the budget" if costs else "after the last round"
    if "auc_ood" in aucs:
        terms |= {
            "IID, OOD": f"accuracies {when}",
            "worst": "OOD accuracy of the worst node"
            + ("; without OOD data, its IID accuracy" if "auc_test" in aucs else ""),
            **({"asr": "OOD accuracy without the images of the target class"} if "auc_asr" in shown else {}),
            f"vs {BASELINE}": f"difference in OOD AUC to {BASELINE} on the same graph, seed and OOD node, "
            "and in how many of these pairs it is positive",
        }
    else:
        terms |= {"IID": f"accuracy {when}", "worst": "accuracy of the worst node"}
    shown_names = {str(row["strategy"]).split()[0] for table in tables for row in table.rows}
    if ceiling := [name for name in ("centralized", "traversal") if name in shown_names]:
        terms[", ".join(ceiling)] = "one model, trained on the data of all nodes"
    if single:
        terms[", ".join(single)] = (
            "judged by the one model that is delivered, also as worst, where other rows have the nodes "
            "(--verdicts judges all rows by the same models)"
        )
    if "simulated_s" in shown:
        terms["time"] = "simulated seconds of a whole run"
    if costs and any(math.isnan(row[table.auc]) for table in tables for row in table.rows if row["runs"]):
        without = "has sent nothing" if costs[0] == "bytes" else "has no clock"
        terms["-"] = f"a run {without}, or ends before the budget"
    if any(part.control for table in tables for part in table.topologies):
        terms["control"] = (
            "the strategies above it without OOD data, over all their runs; its OOD AUC is the floor, which "
            "comes from chance and from the images of the target class"
        )
    return terms


def heading(settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Settings in words: those that every heading contains, and those in which the others differ."""
    trained = count(settings["epochs"], "epoch") if "epochs" in settings else ""
    if "local_steps" in settings:
        trained = count(settings["local_steps"], "step")
    if "auc_over" in settings:
        words = [settings["dataset"], *([trained] if trained else []), f"at equal {settings['auc_over']}"]
    else:
        every = settings["eval_every"]
        measured = (
            "each epoch" if every == "epoch" else "each round" if every == 1 else f"every {every} rounds"
        )
        rounds = " x ".join([count(settings["rounds"], "round"), *([trained] if trained else [])])
        words = [f"{settings['dataset']}, {rounds}, measured {measured}"]
    for field in sorted({field for other in others for field in other} - _ALWAYS):
        values = {json.dumps(other.get(field)) for other in others}
        # A learning rate that is not in the settings is shown with each method.
        if len(values) > 1 and (field in settings or field not in TUNED):
            words.append(f"{field} {settings.get(field, '-')}")
    words.append(f"OOD share {settings['ood']}" if settings["ood"] else "no OOD data")
    return ", ".join(words)


def _budget(rows: pd.DataFrame, over: Over) -> str:
    """The budget of a topology in words; empty without one."""
    known = rows["budget"].dropna()
    if known.empty:
        return ""
    return size(int(known.iloc[0])) if over == "bytes" else f"{known.iloc[0]:.4g} s"


def _records(rows: pd.DataFrame) -> tuple[Row, ...]:
    return tuple({str(name): value for name, value in row.items()} for row in rows.to_dict("records"))


def _is_floor(summary: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a row is a control that gives another row its floor."""
    with_floor = summary[summary["floor_ood"].notna()]
    controls = with_floor["settings"].map(control_of)
    served = set(zip(controls, with_floor["topology"].map(without_rank), strict=True))
    places = zip(summary["settings"], summary["topology"], strict=True)
    return pd.Series([place in served for place in places], summary.index, dtype=bool)


def _control(rows: pd.DataFrame, summary: pd.DataFrame) -> Row | None:
    """The controls of those rows of one settings and topology that have a floor, as one row."""
    with_floor = rows[rows["floor_ood"].notna()]
    if with_floor.empty:
        return None
    settings, topology = (
        control_of(with_floor["settings"].iloc[0]),
        without_rank(with_floor["topology"].iloc[0]),
    )
    same_place = (summary["settings"] == settings) & (summary["topology"] == topology)
    return _pooled(summary[same_place & summary["strategy"].isin(with_floor["strategy"])])


def _pooled(rows: pd.DataFrame) -> Row:
    """Pools several rows into one, with means and standard deviations over all their runs."""
    row: dict[str, Any] = {"strategy": "control", "runs": rows["runs"].sum(), "diverged": 0, "stalled": 0}
    for value in VALUES:
        row[value] = mean = (rows["runs"] * rows[value]).sum(skipna=False) / row["runs"]
        within = (rows["runs"] - 1) * rows[f"{value}_std"].fillna(0) ** 2
        squares = (within + rows["runs"] * (rows[value] - mean) ** 2).sum(skipna=False)
        row[f"{value}_std"] = math.sqrt(squares / (row["runs"] - 1)) if row["runs"] > 1 else math.nan
    return row | {"over_unweighted": math.nan}
