"""The summary of a folder: the results of each strategy on each topology, over seeds and OOD nodes."""

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from dml.files import beside
from dml.results import files
from dml.results.config import REFERENCES
from dml.results.grouping import control_of
from dml.results.runs import KEYS, VALUES, Runs, by_rank

BASELINE = "unweighted"
"""The strategy that the others are compared with."""

_FIRST = ("unweighted_fl", BASELINE, "weighted", "random")
"""The strategies that come first, as their scores do not depend on the topology."""


def summarise(runs: Runs) -> pd.DataFrame:
    """Summarises runs in one row per settings, topology and strategy.

    Returns:
        A table with the columns settings, topology, strategy, runs, diverged, stalled; for each of ``VALUES``
        its mean and its standard deviation over the runs (NaN if all have diverged or stalled, or a run lacks
        it);
        ``over_unweighted``, the mean difference in OOD AUC to the runs of ``unweighted`` on the same graph,
        seed and OOD node; ``pairs``, the number of these pairs, and ``pairs_above``, the number with a
        positive difference; ``floor_ood`` and ``floor_asr``, the mean AUCs of the controls (the runs without
        OOD data of the same settings, graph, seed and strategy); ``over_floor``, the mean difference in OOD
        AUC to them (NaN without a control, and for controls); ``budget``, the cost until which AUCs are
        formed (NaN if they are sums over measurements).
    """
    rows: list[dict[str, Any]] = []
    for (settings, topology), part in _with_floors(runs.table).groupby(["settings", "topology"], sort=False):
        baseline = part[part["strategy"] == BASELINE].drop_duplicates("pair").set_index("pair")["auc_ood"]
        for strategy, own in part.groupby("strategy", sort=False):
            key = (settings, topology, strategy)
            rows.append(
                dict(zip(KEYS, key, strict=True))
                | {"runs": len(own), **_cut_short(runs, key)}
                | _means(own)
                | ({} if strategy == BASELINE else _over_baseline(own, baseline))
                | _over_floor(own)
                | {"budget": own["budget"].iloc[0]}
            )
    present = {tuple(row[key] for key in KEYS) for row in rows}
    rows += [
        dict(zip(KEYS, key, strict=True)) | {"runs": 0, **_cut_short(runs, key)}
        for key in dict.fromkeys([*runs.diverged, *runs.stalled])
        if key not in present
    ]
    columns = [*KEYS, "runs", "diverged", "stalled"]
    columns += [column for value in VALUES for column in (value, f"{value}_std")]
    columns += ["over_unweighted", "pairs", "pairs_above", "floor_ood", "floor_asr", "over_floor", "budget"]
    return pd.DataFrame(rows, columns=columns).sort_values(KEYS, key=_sort_key)


def _cut_short(runs: Runs, key: tuple[str, str, str]) -> dict[str, int]:
    return {"diverged": runs.diverged.get(key, 0), "stalled": runs.stalled.get(key, 0)}


def _with_floors(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns floor_ood and floor_asr, the AUCs of the runs' controls."""
    table = table.assign(control=table["settings"].map(control_of))
    is_control = table["control"] == table["settings"]
    floors = table[is_control].groupby(["control", "strategy", "place"])[["auc_ood", "auc_asr"]].mean()
    floors.columns = pd.Index(["floor_ood", "floor_asr"])
    joined = table.join(floors, on=floors.index.names)
    joined.loc[is_control, list(floors.columns)] = math.nan
    return joined


def _means(own: pd.DataFrame) -> dict[str, float]:
    values = own[list(VALUES)]
    deviations = values.std(ddof=1, skipna=False).add_suffix("_std")
    return {**values.mean(skipna=False).to_dict(), **deviations.to_dict()}


def _over_baseline(own: pd.DataFrame, baseline: "pd.Series[float]") -> dict[str, float]:
    paired = own.set_index("pair")["auc_ood"]
    difference = (paired - baseline.reindex(paired.index)).dropna()
    if difference.empty:
        return {}
    above = int((difference > 0).sum())
    return {"over_unweighted": difference.mean(), "pairs": len(difference), "pairs_above": above}


def _over_floor(own: pd.DataFrame) -> dict[str, float]:
    means = {floor: own[floor].mean() for floor in ("floor_ood", "floor_asr")}
    return means | {"over_floor": (own["auc_ood"] - own["floor_ood"]).mean()}


def _sort_key(column: "pd.Series[str]") -> "pd.Series[Any]":
    if column.name == "topology":
        return column.map(by_rank)
    return column.map(sort_key) if column.name == "strategy" else column


def sort_key(strategy: str) -> str:
    """The sort key of a strategy: ``_FIRST``, then the others by name, and ``REFERENCES`` at the end."""
    name = strategy.split()[0].rstrip(",")
    if name in REFERENCES:
        return f"9{REFERENCES.index(name)}{strategy}"
    return f"{_FIRST.index(name) if name in _FIRST else 8}{strategy}"


def forecast_agreement(runs: Runs) -> tuple[float, int] | None:
    """The agreement between the forecast without training and the OOD AUC of experiments.

    Returns:
        Spearman's rank correlation (the mean over settings, weighted by their number of experiments) and the
        number of experiments with a forecast; None if no settings have three of these.
    """
    known = runs.table[runs.table["forecast"].notna()]
    total, count = 0.0, 0
    for _, part in known.groupby("settings"):
        rho = part["forecast"].rank().corr(part["auc_ood"].rank()) if len(part) > 2 else math.nan
        if not math.isnan(rho):
            total, count = total + rho * len(part), count + len(part)
    return (total / count, count) if count else None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV."""
    with beside(path) as temporary:
        table.to_csv(temporary, index=False)


def write_hdf5(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as HDF5, one dataset [rows] per column."""

    def fill(file: h5py.File) -> None:
        file.attrs["columns"] = json.dumps(list(table.columns))
        for column in table.columns:
            values = table[column]
            is_text = not pd.api.types.is_numeric_dtype(values)
            data = values.astype(object).to_numpy() if is_text else values.to_numpy(np.float64)
            files.put(file, column, data, **({"dtype": h5py.string_dtype()} if is_text else {}))

    with beside(path) as temporary:
        files.write(temporary, fill)
