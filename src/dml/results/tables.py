"""Tables of many experiments: what each strategy reached on each topology, over seeds and OOD nodes.

Only the attributes at the root of each file are read, so thousands of files take seconds.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from dml.config import label_of
from dml.errors import DamagedFileError
from dml.results import reader
from dml.results import settings as telling

VALUES = (
    "auc_test", "auc_ood", "auc_asr", "final_test", "final_ood", "worst_test", "worst_ood",
    "final_f1", "final_consensus", "final_mean_model_test", "final_mean_model_ood",
)  # fmt: skip
"""Values of a run: means over its nodes; worst_* are of one node, final_mean_model_* of the mean model."""

_OF_METHODS = {"alpha": "label_alpha", "lr": "lr", "momentum": "momentum"}
"""Columns for :mod:`dml.results.methods`, and their fields."""

BASELINE = "unweighted"
_KEYS = ["settings", "topology", "strategy"]


@dataclass(frozen=True)
class Runs:
    """The experiments of a folder.

    Args:
        table: one row a finished experiment: settings (JSON of all that is no factor), topology,
            strategy, pair (what a baseline run must share), place (what a control run must), algorithm,
            alpha (label_alpha), lr, momentum, forecast (forecast_ood; NaN without), and ``VALUES``.
        running: files of experiments that have not ended.
        diverged: how many have, by (settings, topology, strategy).
        damaged: a message for each file that cannot be read.
    """

    table: pd.DataFrame
    running: list[Path]
    diverged: dict[tuple[str, str, str], int]
    damaged: list[str]


def result_files(folder: Path) -> list[Path]:
    """The result files of a folder, those half written and the summary left out."""
    return sorted(p for p in folder.glob("*.h5") if not p.name.startswith(".") and p.name != "summary.h5")


def collect(paths: Iterable[Path]) -> Runs:
    """Reads what the files say of themselves."""
    rows, running, damaged = [], [], []
    for path in paths:
        try:
            row = _row(path, reader.attributes(path))
        except DamagedFileError as error:
            damaged.append(str(error))
            continue
        except OSError:
            damaged.append(f"{path} is not there (any more, or it is a link)")
            continue
        if row["status"] == "running":
            running.append(path)
        else:
            rows.append(row)
    telling.share(row["told"] for row in rows)
    for row in rows:
        row |= {"settings": row["told"].text, "variant": row["told"].variant}
    columns = ["settings", "topology", "graph", "seeded", "strategy", "variant", "pair", "place", "status"]
    table = pd.DataFrame(rows, columns=[*columns, "algorithm", *_OF_METHODS, "forecast", *VALUES])
    # Files of one name in two folders may hold two graphs; only seeds make different graphs one family.
    unseeded = table[~table["seeded"].astype(bool)]
    twice = unseeded.groupby("topology")["graph"].transform("nunique") > 1
    table.loc[twice[twice].index, "topology"] += " [" + table["graph"].str[:6] + "]"
    # Two variants of one strategy (softmax or not, another s) are two strategies, where both are there. A run
    # and its control are called the same, whichever variants each of their groups holds.
    several = (
        table.groupby([table["settings"].map(control_of), "strategy"])["variant"].transform("nunique") > 1
    )
    table.loc[several, "strategy"] += " " + table.loc[several, "variant"]
    lost = table[table["status"] == "diverged"]
    diverged = {tuple(map(str, key)): len(part) for key, part in lost.groupby(_KEYS)}
    kept = (
        table[table["status"] == "complete"]
        .drop(columns=["variant", "status", "graph", "seeded"])
        .reset_index(drop=True)
    )
    return Runs(kept, running, diverged, damaged)  # type: ignore[arg-type]


def _row(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    config = found["config"]
    try:
        # A diverged run stands among those that it was to be one of.
        rounds = config["rounds"] if found["status"] == "diverged" else found["rounds_done"]
        return {
            "told": telling.of(config, set(json.loads(found["reads"])), rounds),
            "topology": found["topology_family"],
            "strategy": label_of(config),
            "algorithm": config.get("algorithm", "decentralized"),
            **{name: float(config[flag]) for name, flag in _OF_METHODS.items()},
            "forecast": float(found.get("forecast_ood", "nan")),
            "seeded": found["topology_source"] != found["topology_family"],
            "graph": found["graph_id"],
            "place": f"{found['graph_id']} {config['seed']}",
            "pair": f"{found['graph_id']} {config['seed']} {config['backdoor_node_idx']}",
            "status": found["status"],
            **{value: float(found.get(value, "nan")) for value in VALUES},
        }
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{path} is no result file ({error!r}); it was left as it is") from None


def forecast_agreement(runs: Runs) -> tuple[float, int] | None:
    """How far the forecast without training orders experiments as their OOD AUCs do.

    Returns:
        Spearman's rank correlation, on the mean over settings weighted by their experiments, and how many
        experiments have a forecast; None where fewer than three of one settings do.
    """
    known = runs.table[runs.table["forecast"].notna()]
    total, count = 0.0, 0
    for _, part in known.groupby("settings"):
        rho = part["forecast"].rank().corr(part["auc_ood"].rank()) if len(part) > 2 else math.nan
        if not math.isnan(rho):
            total, count = total + rho * len(part), count + len(part)
    return (total / count, count) if count else None


@cache
def control_of(settings: str) -> str:
    """The settings of the runs that are these without OOD data; a control's own are returned as they are."""
    return json.dumps(json.loads(settings) | {"ood": 0}, sort_keys=True)


def _with_floors(table: pd.DataFrame) -> pd.DataFrame:
    """The runs with floor_ood and floor_asr: the AUCs of the control on the same graph, seed and strategy."""
    table = table.assign(control=table["settings"].map(control_of))
    is_control = table["control"] == table["settings"]
    floors = table[is_control].groupby(["control", "strategy", "place"])[["auc_ood", "auc_asr"]].mean()
    floors.columns = pd.Index(["floor_ood", "floor_asr"])
    joined = table.join(floors, on=floors.index.names)
    joined.loc[is_control, list(floors.columns)] = math.nan
    return joined


def summarise(runs: Runs) -> pd.DataFrame:
    """One row a settings, topology and strategy.

    Returns:
        Columns: runs, diverged; for each of ``VALUES`` the mean and the standard deviation over the runs
        (NaN where all have diverged, or one lacks it); ``over_unweighted``, the mean difference in OOD AUC to
        the runs of
        ``unweighted`` on the same topology, seed and OOD node; ``pairs``, how many such there are, and
        ``pairs_above`` zero; ``floor_ood`` and ``floor_asr``, the mean AUCs of the controls (the runs without
        OOD data of the same settings, graph, seed and strategy), and ``over_floor``, the mean difference in
        OOD AUC to them (NaN without a control, and for controls).
    """
    rows = []
    for (settings, topology), part in _with_floors(runs.table).groupby(["settings", "topology"], sort=False):
        baseline = part[part["strategy"] == BASELINE].drop_duplicates("pair").set_index("pair")["auc_ood"]
        for strategy, own in part.groupby("strategy", sort=False):
            row: dict[str, Any] = {"settings": settings, "topology": topology, "strategy": strategy}
            row |= {"runs": len(own), "diverged": runs.diverged.get((settings, topology, strategy), 0)}
            for value in VALUES:
                row |= {
                    value: own[value].mean(skipna=False),
                    f"{value}_std": own[value].std(ddof=1, skipna=False),
                }
            paired = own.set_index("pair")["auc_ood"]
            difference = (paired - baseline.reindex(paired.index)).dropna()
            if strategy != BASELINE and len(difference):
                row["over_unweighted"] = difference.mean()
                row |= {"pairs": len(difference), "pairs_above": int((difference > 0).sum())}
            row |= {"floor_ood": own["floor_ood"].mean(), "floor_asr": own["floor_asr"].mean()}
            row["over_floor"] = (own["auc_ood"] - own["floor_ood"]).mean()
            rows.append(row)
    there = {(row["settings"], row["topology"], row["strategy"]) for row in rows}
    for key, count in runs.diverged.items():
        if key not in there:
            rows.append(dict(zip(_KEYS, key, strict=True)) | {"runs": 0, "diverged": count})
    columns = [*_KEYS, "runs", "diverged"]
    columns += [c for value in VALUES for c in (value, f"{value}_std")]
    columns += ["over_unweighted", "pairs", "pairs_above", "floor_ood", "floor_asr", "over_floor"]
    return pd.DataFrame(rows, columns=columns).sort_values(["settings", "topology", "strategy"], key=_order)


def _order(column: "pd.Series[str]") -> "pd.Series[Any]":
    """Baselines first, then the rest by name."""
    return column.map(rank) if column.name == "strategy" else column


def rank(strategy: str) -> str:
    """What strategies are sorted by."""
    first = {"unweighted_fl": 0, BASELINE: 1, "weighted": 2, "random": 3}
    return f"{first.get(strategy.split()[0], 9)}{strategy}"
