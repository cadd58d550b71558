"""A report as data: what it says about a folder of experiments, before anything decides how it looks.

Text (:mod:`dml.results.report_text`) and the picture (:mod:`dml.results.auc_picture`) render its sections.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dml.results.runs import Runs
from dml.results.strategy_tables import StrategyTable, legend, strategy_tables
from dml.results.tables import forecast_agreement
from dml.results.worst_nodes import WorstNodeTable, worst_node_tables


@dataclass(frozen=True)
class Forecast:
    """How well the forecast without training ranks experiments by their OOD AUC.

    Args:
        correlation: Spearman's rank correlation.
        experiments: the number of experiments that have a forecast.
    """

    correlation: float
    experiments: int


@dataclass(frozen=True)
class Provenance:
    """The files that a report is made from, and those that it leaves out.

    Args:
        complete: the number of complete experiments.
        diverged: the number of diverged experiments.
        running: files of experiments that have not ended; they are left out.
        damaged: one message per file that cannot be read; they are left out.
    """

    complete: int
    diverged: int
    running: tuple[Path, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The sections of a report, in the order in which they are read.

    Args:
        tables: strategies and algorithms, one table per settings.
        legend: the terms of these tables and their meanings.
        forecast: None if too few experiments have a forecast.
        worst_nodes: tables that compare algorithms; none without algorithms.
        provenance: what the report is made from.
    """

    tables: tuple[StrategyTable, ...]
    legend: Mapping[str, str]
    forecast: Forecast | None
    worst_nodes: tuple[WorstNodeTable, ...]
    provenance: Provenance


def make_report(runs: Runs, summary: pd.DataFrame) -> Report:
    """Builds a report.

    Args:
        runs: the experiments.
        summary: what :func:`dml.results.tables.summarise` makes of them.
    """
    agreement, tables = forecast_agreement(runs), strategy_tables(summary)
    diverged = sum(runs.diverged.values())
    return Report(
        tables=tables,
        legend=legend(tables),
        forecast=Forecast(*agreement) if agreement else None,
        worst_nodes=worst_node_tables(runs.table),
        provenance=Provenance(len(runs.table), diverged, tuple(runs.running), tuple(runs.damaged)),
    )
