"""A picture of graphs whose nodes show what they have learned: one panel an experiment."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml.config import label_of
from dml.errors import ArgumentError, InputError
from dml.results import files
from dml.results.reader import Loaded
from dml.results.record import FINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

MOST_NODES = 2000
"""Beyond that, nodes hide one another, and laying them out takes minutes."""
_PANEL, _COLUMNS = 3.6, 4
"""Inches of a panel; panels beside one another."""
_NUMBERED = 40
"""So many nodes have their numbers in their circles."""
_DPI = 150
_GREY = "0.85"
"""The colour of a node without a value."""


def draw(results: Sequence[Loaded], metric: str, number: int | None, path: Path) -> None:
    """Draws the graph of each experiment, its nodes coloured by a metric; OOD nodes have a red ring.

    Graphs that are the same are laid out the same, so that strategies can be compared node by node. Nodes
    that have no value, or have diverged, are grey. In small graphs circles hold the nodes' numbers.

    Args:
        results: of experiments.
        metric: a name under ``metrics/`` in the files, as ``ood_acc``.
        number: the round after whose training it was measured; None for the end, or where that has no such
            values (training has none after the last aggregation) the last row that has any.
        path: of the picture; its ending is the format.

    Raises:
        InputError: a file lacks the metric or the round, or its graph is too large.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows_shown = [_row(result, metric, number) for result in results]
    values = [result.values(metric, row) for result, row in zip(results, rows_shown, strict=True)]
    whens = [_when(result, row) for result, row in zip(results, rows_shown, strict=True)]
    alike = len(set(whens)) == 1
    rows = math.ceil(len(results) / _COLUMNS)
    columns = min(_COLUMNS, len(results))
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(_PANEL * columns + 0.8, _PANEL * rows + 0.3),
        squeeze=False,
        layout="constrained",
        dpi=_DPI,
    )
    if metric.endswith("_acc") or metric == "ood_asr":
        low, high = 0.0, 1.0
    else:
        measured = np.concatenate(values)
        measured = measured[~np.isnan(measured)]
        low, high = (float(measured.min()), float(measured.max())) if len(measured) else (0.0, 1.0)
    layouts: dict[str, dict[int, np.ndarray]] = {}
    panels: list[PathCollection] = []
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    for axis, result, own, when in zip(axes.flat, results, values, whens, strict=False):
        graph = str(result.attributes["graph_id"])
        if graph not in layouts:
            layouts[graph] = _layout(result)
        panels.append(_panel(axis, result, own, layouts[graph], low, high))
        axis.set_title("\n".join(_title(result, own, "" if alike else when)), fontsize=8)
    # Of any panel: all have one scale.
    figure.colorbar(panels[-1], ax=axes, shrink=0.7, label=f"{metric}, {whens[0]}" if alike else metric)
    # Only now is it known how large the panels are; the titles stay where they are.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for nodes in panels:
        _fit(nodes)
    try:
        with files.beside(path) as made:
            figure.savefig(made, dpi=_DPI, format=path.suffix[1:].lower())
    finally:
        pyplot.close(figure)


def _row(result: Loaded, metric: str, number: int | None) -> int:
    """The row of the measurements that is shown."""
    if metric not in result.metrics:
        raise InputError("metric", metric, f"is not in {result.path}; there are: {', '.join(result.metrics)}")
    n = len(result.arrays["topology/degree"])
    if n > MOST_NODES:
        raise ArgumentError("FILE", result.path, f"has {n} nodes; a picture shows up to {MOST_NODES}")
    rounds = result.arrays["metrics/round"]
    epochs = result.arrays["metrics/epoch"]
    rows = np.arange(len(rounds)) if number is None else np.flatnonzero((rounds == number) & (epochs >= 0))
    if not len(rows):
        measured = sorted({int(r) for r in rounds})
        right = (
            f"was not measured in {result.path}, which has {measured[0]} to {measured[-1]}"
            if measured
            else ""
        )
        raise InputError("round", number, right or f"nothing was measured in {result.path}")
    if number is None and metric.startswith("train_"):
        some = [row for row in rows if np.isfinite(result.values(metric, int(row))).any()]
        return int(some[-1] if some else rows[-1])
    return int(rows[-1])


def _when(result: Loaded, row: int) -> str:
    if result.arrays["metrics/epoch"][row] == FINAL:
        return "after the last aggregation"
    return f"after training in round {result.arrays['metrics/round'][row]}"


def _title(result: Loaded, values: np.ndarray, when: str) -> list[str]:
    """What stands above a panel, line by line."""
    diverged = result.attributes["status"] == "diverged"
    there = ~np.isnan(values)
    if there.all():
        mean = f"mean {values.mean():.2f}"
    elif there.any():
        mean = f"mean {values[there].mean():.2f} ({there.sum()} of {len(there)} nodes)"
    else:
        mean = "not finite" if diverged else "not measured"
    lines = [
        f"{label_of(result.config)}, seed {result.config['seed']}{_where(result)}",
        result.attributes["topology_family"],
        mean,
        when,
    ]
    if diverged:
        lines.append(f"diverged in round {result.arrays['metrics/round'][-1]}")
    return [line for line in lines if line]


def _where(result: Loaded) -> str:
    """On which nodes the OOD data are, as the end of a line; of many the first."""
    nodes = result.config["backdoor_node_idx"] if result.config["backdoor"] else []
    if not nodes:
        return ", no OOD data"
    return f", OOD on {', '.join(map(str, nodes[:3]))}" + (" .." if len(nodes) > 3 else "")


def _layout(result: Loaded) -> dict[int, np.ndarray]:
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(len(result.arrays["topology/degree"])))
    graph.add_edges_from(result.arrays["topology/edges"].tolist())
    placed: dict[int, np.ndarray]
    if len(graph) <= _NUMBERED and nx.is_connected(graph):
        # Springs fold a small graph, as a chain, until edges run below nodes that are not theirs.
        placed = nx.kamada_kawai_layout(graph)
    else:
        placed = nx.spring_layout(graph, seed=0, k=2.2 / math.sqrt(len(graph)))
    return placed


def _panel(
    axis: "Axes", result: Loaded, values: np.ndarray, at: dict[int, np.ndarray], low: float, high: float
) -> "PathCollection":
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    places = np.array([at[node] for node in range(len(values))])
    lines = [(places[i], places[j]) for i, j in result.arrays["topology/edges"]]
    axis.add_collection(LineCollection(lines, colors="0.75", linewidths=0.6, zorder=1))
    size = 160.0 if len(values) <= _NUMBERED else 4000.0 / len(values)
    ood = (
        np.isin(np.arange(len(values)), result.config["backdoor_node_idx"] or []) & result.config["backdoor"]
    )
    shown = axis.scatter(
        places[:, 0],
        places[:, 1],
        s=size,
        c=values,
        vmin=low,
        vmax=high,
        cmap=colormaps["viridis"].with_extremes(bad=_GREY),
        plotnonfinite=True,
        edgecolors=["red" if is_ood else "0.3" for is_ood in ood],
        linewidths=[2.0 if is_ood else 0.5 for is_ood in ood],
        zorder=2,
    )
    if len(values) <= _NUMBERED:
        fills = shown.to_rgba(np.ma.masked_invalid(values))
        for node, (place, fill) in enumerate(zip(places, fills, strict=True)):
            axis.text(
                float(place[0]),
                float(place[1]),
                str(node),
                color=_on(fill),
                fontsize=6 if node < 10 else 5.5,
                ha="center",
                va="center_baseline",
                clip_on=True,
                zorder=3,
            )
    axis.axis("off")
    return shown


def _fit(nodes: "PathCollection") -> None:
    """Gives a panel limits that hold its outermost circles with their rings, at one scale in x and y."""
    axis = nodes.axes
    assert axis is not None
    places = np.asarray(nodes.get_offsets())
    inches = np.array(axis.get_window_extent().size) / _DPI
    radius = (math.sqrt(nodes.get_sizes()[0]) / 2 + 2) / 72
    least, most = places.min(axis=0), places.max(axis=0)
    scale = float(((most - least) / (inches - 2 * radius)).max()) or 1.0
    left, bottom = (least + most - scale * inches) / 2
    right, top = (least + most + scale * inches) / 2
    axis.set(xlim=(left, right), ylim=(bottom, top))


def _on(fill: np.ndarray) -> str:
    """Black or white, whichever has the higher contrast to a colour (RGBA), by WCAG's relative luminance."""
    linear = np.where(fill[:3] <= 0.04045, fill[:3] / 12.92, ((fill[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"
