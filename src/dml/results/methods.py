"""Algorithms side by side on data that are less and less alike, as table 2 of Vogels et al. (2021).

A row a method, a column a Dirichlet concentration of the labels, if only one: the accuracy of the worst node
after the last round, with its standard deviation over the seeds, and the learning rate.
"""

import json
import math
import textwrap
from collections.abc import Iterable

import pandas as pd

from dml.results.settings import TUNED

_NAME, _CELL, _COLUMNS = 29, 17, 3


def text(runs: pd.DataFrame) -> str:
    """The table; empty where a folder compares no algorithm with another method or concentration.

    Args:
        runs: one row a run: settings (JSON), topology, strategy (with its variant), algorithm, momentum,
            alpha, lr, worst_test.
    """
    lines: list[str] = []
    parts = {
        str(settings): _named(part)
        for settings, part in runs.groupby(runs["settings"].map(_shared), sort=False)
        if (part["algorithm"] != "decentralized").any()
    }
    compared = {s: p for s, p in parts.items() if max(p["alpha"].nunique(), p["name"].nunique()) > 1}
    for settings, part in compared.items():
        alphas = sorted(part["alpha"].unique(), reverse=True)[:_COLUMNS]
        lines += textwrap.wrap(
            f"{_heading(settings, compared)}: accuracy of the worst node in % (learning rate)", 80
        )
        lines.append(f"{'':<{_NAME}}" + "".join(f"{f'alpha {alpha:g}':>{_CELL}}" for alpha in alphas))
        for graph, on_graph in part.groupby("topology", sort=False):
            lines.append(str(graph))
            for name, own in on_graph.groupby("name"):
                cells = [_cell(own[own["alpha"] == alpha]) for alpha in alphas]
                head = f"  {name:<{_NAME - 2}}"
                lines += [head.rstrip(), " " * _NAME] if len(head) > _NAME else [head]
                lines[-1] += "".join(f"{cell:>{_CELL}}" for cell in cells)
        lines.append("")
    return "\n".join(lines[:-1])


def _heading(settings: str, others: Iterable[str]) -> str:
    """What tells a table from the others."""
    told, every = json.loads(settings), [json.loads(other) for other in others]
    flags = sorted({flag for other in every for flag in other} - {"dataset", "rounds"})
    differing = [flag for flag in flags if len({json.dumps(other.get(flag)) for other in every}) > 1]
    words = [f"{flag} {told.get(flag, '-')}" for flag in differing]
    return ", ".join([f"{told['dataset']}, {told['rounds']} rounds", *words])


def _shared(settings: str) -> str:
    """What all rows and columns of a table have in common; a method's own values are in the cells."""
    told = json.loads(settings)
    return json.dumps({k: v for k, v in told.items() if k not in ("label_alpha", *TUNED)}, sort_keys=True)


def _named(part: pd.DataFrame) -> pd.DataFrame:
    """With a name a method: the short one where it says it all."""
    momentum = part["momentum"].gt(0) & (part["algorithm"] != "quasi_global_momentum")
    short = part["algorithm"].where(part["algorithm"] != "decentralized", part["strategy"])
    short = short + momentum.map({True: " + momentum", False: ""})
    # What the learning rates, in the cells, leave of the variant must be one for each short name.
    full = part["strategy"].str.replace(r" lr=\S+", "", regex=True)
    several = full.groupby([part["topology"], short]).transform("nunique") > 1
    return part.assign(name=short.where(~several, full))


def _cell(own: pd.DataFrame) -> str:
    if own.empty:
        return "-"
    values = 100 * own["worst_test"]
    spread = f"±{values.std(ddof=1):.1f}" if len(own) > 1 else ""
    several = own["lr"].nunique() > 1
    rates = f"{own['lr'].nunique()} rates" if several else f"{own['lr'].iloc[0]:.3g}"
    mean = "not finite" if math.isnan(values.mean()) else f"{values.mean():.1f}{spread}"
    return f"{mean} ({rates})"
