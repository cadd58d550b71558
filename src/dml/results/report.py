"""A summary as people look at it: text in 80 columns, and files to go on with."""

import json
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from dml.results import files, tables
from dml.results.settings import TUNED

if TYPE_CHECKING:
    import pandas as pd

_ALWAYS = ("rounds", "epochs", "local_steps", "eval_every")
_LABEL, _LONGEST = 13, 54
"""Columns of a strategy's name, where OOD columns stand beside it and where none do; a longer one has a line
of its own."""


def text(table: "pd.DataFrame") -> str:
    """The table as text: for each settings and topology one line a strategy, and one of their controls.

    Experiments without OOD data that are nobody's floor have columns of the IID test set alone.
    """
    lines, floors = [], False
    all_settings = [json.loads(s) for s in table["settings"].unique()]
    own = shown(table)
    for settings in own["settings"].unique():
        lines += [*textwrap.wrap(heading(json.loads(settings), all_settings), 80), ""]
        of_these = own[own["settings"] == settings]
        iid = measured(settings) == "auc_test"
        label = min(max(_LABEL, *of_these["strategy"].str.len()), _LONGEST) if iid else _LABEL
        for topology, part in of_these.groupby("topology", sort=False):
            lines += textwrap.wrap(str(topology), 80)
            if iid:
                lines.append(f"{'strategy':<{label}}{'runs':>4}{'IID AUC':>11}{'IID':>5}{'worst':>6}")
                lines += [*(_line(row, label, iid=True) for row in part.to_dict("records")), ""]
                continue
            lines.append(
                f"{'strategy':<{_LABEL}}{'runs':>4}{'IID AUC':>11}{'OOD AUC':>11}{'asr AUC':>11}"
                f"{'IID':>5}{'OOD':>5}{'worst':>6}{'vs unweighted':>14}"
            )
            lines += [_line(row) for row in part.to_dict("records")]
            with_floor = part[part["floor_ood"].notna()]
            if len(with_floor):
                is_control = table["strategy"].isin(with_floor["strategy"]) & (table["topology"] == topology)
                is_control &= table["settings"] == tables.control_of(settings)
                lines.append(_line(_pooled(table[is_control])))
                floors = True
            lines.append("")
    lines += _legend({measured(settings) for settings in own["settings"]})
    if floors:
        lines += [
            "control: these strategies without OOD data, over all such runs; its OOD AUC is",
            "the floor, which chance and the images of the target class give.",
        ]
    return "\n".join(lines)


def _legend(there: set[str]) -> list[str]:
    """What the columns say; which there are follows from what the tables are of."""
    runs = "seeds, OOD nodes" if "auc_ood" in there else "seeds"
    told = (
        "AUC: sum over all measurements of the accuracy's mean over nodes; ± is the standard deviation over "
        f"runs ({runs}). "
    )
    if "auc_ood" in there:
        iid_too = "; where there are no OOD data, its IID accuracy" if "auc_test" in there else ""
        told += (
            f"IID, OOD: accuracies after the last round; worst: OOD accuracy of the worst node{iid_too}. "
            "asr: OOD accuracy without the images of the target class. vs unweighted: OOD AUC above that of "
            "unweighted on the same graph, seed and OOD node, and in how many of such pairs it is above."
        )
    else:
        told += "IID: accuracy after the last round; worst: that of the worst node."
    return textwrap.wrap(told, 80)


def measured(settings: str) -> str:
    """The column of the AUC that experiments of these settings are about: on IID data where all are IID."""
    return "auc_ood" if json.loads(settings)["ood"] else "auc_test"


def shown(table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that stand in text and picture: all but the controls that give others of them their floor."""
    floored = table[table["floor_ood"].notna()]
    served = set(zip(floored["settings"].map(tables.control_of), floored["topology"], strict=True))
    return table[[key not in served for key in zip(table["settings"], table["topology"], strict=True)]]


def _pooled(rows: "pd.DataFrame") -> dict[str, Any]:
    """Several rows as one: means and standard deviations over all their runs."""
    row: dict[str, Any] = {"strategy": "control", "runs": rows["runs"].sum(), "diverged": 0}
    for value in tables.VALUES:
        row[value] = mean = (rows["runs"] * rows[value]).sum(skipna=False) / row["runs"]
        within = (rows["runs"] - 1) * rows[f"{value}_std"].fillna(0) ** 2
        squares = (within + rows["runs"] * (rows[value] - mean) ** 2).sum(skipna=False)
        row[f"{value}_std"] = math.sqrt(squares / (row["runs"] - 1)) if row["runs"] > 1 else math.nan
    return row | {"over_unweighted": math.nan}


def heading(settings: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """What these experiments have in common: rounds, epochs, measuring, and all in which groups differ."""
    every = settings["eval_every"]
    measured = "each epoch" if every == "epoch" else f"every {every} rounds"
    trained = f" x {settings['epochs']} epochs" if "epochs" in settings else ""
    if "local_steps" in settings:
        trained = f" x {settings['local_steps']} step{'s' if settings['local_steps'] > 1 else ''}"
    words = [f"{settings['dataset']}, {settings['rounds']} rounds{trained}, measured {measured}"]
    for flag in sorted({flag for other in others for flag in other} - {*_ALWAYS, "dataset", "ood"}):
        values = {json.dumps(other.get(flag)) for other in others}
        # A learning rate that is not among the settings stands with each method.
        if len(values) > 1 and (flag in settings or flag not in TUNED):
            words.append(f"{flag} {settings.get(flag, '-')}")
    words.append(f"OOD share {settings['ood']}" if settings["ood"] else "no OOD data")
    return ", ".join(words)


def _line(row: dict[str, Any], label: int = _LABEL, *, iid: bool = False) -> str:
    name = str(row["strategy"])
    line = f"{name:<{label}}" if len(name) <= label else f"{name}\n{'':<{label}}"
    line += f"{row['runs']:>4}"
    if not row["runs"]:
        return f"{line}  all {row['diverged']} diverged"
    aucs = ("auc_test",) if iid else ("auc_test", "auc_ood", "auc_asr")
    line += "".join(f"{_spread(row[v], row[f'{v}_std']):>11}" for v in aucs)
    if iid:
        line += f"{row['final_test']:>5.2f}{row['worst_test']:>6.2f}"
    else:
        line += f"{row['final_test']:>5.2f}{row['final_ood']:>5.2f}{row['worst_ood']:>6.2f}"
    if not iid and not math.isnan(row["over_unweighted"]):
        pairs = f"{row['pairs_above']:.0f}/{row['pairs']:.0f}"
        over = row["over_unweighted"]
        line += f"{f'{over:+.1f}' if abs(over) < 1000 else f'{over:+.0f}':>8}{pairs:>6}"
    return line + (f"\n{'':<{label + 4}}  {row['diverged']} more diverged" if row["diverged"] else "")


def _spread(mean: float, deviation: float) -> str:
    """With a digit after the point where there is room for it."""
    if math.isnan(deviation):
        return f"{mean:.1f}"
    exact = f"{mean:.1f}±{deviation:.1f}"
    return exact if len(exact) <= 10 else f"{mean:.0f}±{deviation:.0f}"


def write_csv(table: "pd.DataFrame", path: Path) -> None:
    """The table as CSV."""
    with files.beside(path) as made:
        table.to_csv(made, index=False)


def write_hdf5(table: "pd.DataFrame", path: Path) -> None:
    """The table as HDF5, one dataset a column, [rows]."""

    def fill(file: h5py.File) -> None:
        file.attrs["columns"] = json.dumps(list(table.columns))
        for column in table.columns:
            values = table[column]
            is_text = (
                values.dtype.kind in "OTU"
                or not hasattr(values.dtype, "itemsize")
                or str(values.dtype) == "str"
            )
            data = values.astype(object).to_numpy() if is_text else values.to_numpy(np.float64)
            files.put(file, column, data, **({"dtype": h5py.string_dtype()} if is_text else {}))

    with files.beside(path) as made:
        files.write(made, fill)
