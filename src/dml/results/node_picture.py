"""A picture of graphs whose nodes show what they have learned: one panel per experiment."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dml.errors import ArgumentError, InputError
from dml.files import beside
from dml.results.node_panels import NodePanel, limits, node_panel
from dml.results.reader import Loaded, load

_PANEL, _COLUMNS = 3.6, 4
"""The size of a panel in inches, and the number of panels next to one another."""
_NUMBERED = 40
"""The largest number of nodes with which the circles contain the nodes' numbers."""
_DPI = 150
_GREY = "0.85"
"""The colour of a node without a value."""

Places = Mapping[int, NDArray[np.float64]]
"""The place of each node in the plane."""


def draw_nodes(paths: Sequence[Path], metric: str, number: int | None, out: Path) -> None:
    """Reads result files and writes the picture that :func:`node_figure` draws of them.

    Args:
        paths: the files, at least one.
        metric: see :func:`node_figure`.
        number: see :func:`node_figure`.
        out: the picture, which replaces an old one; its ending determines the format.

    Raises:
        InputError: a file lacks the metric or the round, or its graph is too large, or the picture cannot be
            written.
        DamagedFileError: a file is not a result file, or is damaged.
    """
    try:
        results = [load(path) for path in paths]
    except FileNotFoundError as error:
        raise ArgumentError("FILE", error.args[0], "no longer exists") from None
    figure = node_figure(results, metric, number)
    try:
        with beside(out) as temporary:
            figure.savefig(temporary, dpi=_DPI, format=out.suffix[1:].lower())
    except OSError as error:
        raise InputError("out", out, f"cannot be written ({error.strerror})") from None


def node_figure(results: Sequence[Loaded], metric: str, number: int | None) -> Figure:
    """Draws the graph of each experiment with its nodes coloured by a metric; OOD nodes have a red ring.

    Equal graphs have equal layouts, so that strategies can be compared node by node. Nodes that have no
    value, or have diverged, are grey. In small graphs the circles contain the nodes' numbers.

    Args:
        results: the experiments.
        metric: a name below ``metrics/`` in the files, such as ``ood_acc``.
        number: the round after whose training the metric was measured; None for the last row that has values
            (training has none after the last aggregation).

    Raises:
        InputError: a file lacks the metric or the round, or its graph is too large.
    """
    panels = [node_panel(result, metric, number) for result in results]
    rows, columns = math.ceil(len(panels) / _COLUMNS), min(_COLUMNS, len(panels))
    size = (_PANEL * columns + 0.8, _PANEL * rows + 0.3)
    # pyplot would keep the figure in memory, and set the backend of the caller's own figures.
    figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    same_time = len({panel.when for panel in panels}) == 1
    scale = limits(metric, panels)
    layouts: dict[str, Places] = {}
    drawn: list[PathCollection] = []
    for axis, panel in zip(axes.flat, panels, strict=False):
        if panel.graph not in layouts:
            layouts[panel.graph] = _layout(panel)
        drawn.append(_draw_panel(axis, panel, layouts[panel.graph], scale))
        axis.set_title("\n".join(panel.title(with_time=not same_time)), fontsize=8)
    # All panels have the same scale, so any of them will do.
    label = f"{metric}, {panels[0].when}" if same_time else metric
    figure.colorbar(drawn[-1], ax=axes, shrink=0.7, label=label)
    # The sizes of the panels are known only after drawing. The titles stay in place.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for nodes in drawn:
        _fit(nodes)
    return figure


def _layout(panel: NodePanel) -> Places:
    graph = nx.Graph()
    graph.add_nodes_from(range(len(panel.values)))
    graph.add_edges_from(panel.edges.tolist())
    places: Places
    if len(graph) <= _NUMBERED and nx.is_connected(graph):
        # The spring layout folds small graphs such as chains, so that edges pass below other nodes.
        places = nx.kamada_kawai_layout(graph)
    else:
        places = nx.spring_layout(graph, seed=0, k=2.2 / math.sqrt(len(graph)))
    return places


def _draw_panel(axis: Axes, panel: NodePanel, layout: Places, scale: tuple[float, float]) -> PathCollection:
    """Draws a graph; returns its nodes."""
    n = len(panel.values)
    places = np.array([layout[node] for node in range(n)])
    lines = [(places[i], places[j]) for i, j in panel.edges]
    axis.add_collection(LineCollection(lines, colors="0.75", linewidths=0.6, zorder=1))
    nodes = axis.scatter(
        places[:, 0],
        places[:, 1],
        s=160.0 if n <= _NUMBERED else 4000.0 / n,
        c=panel.values,
        vmin=scale[0],
        vmax=scale[1],
        cmap=colormaps["viridis"].with_extremes(bad=_GREY),
        plotnonfinite=True,
        edgecolors=["red" if ood else "0.3" for ood in panel.is_ood],
        linewidths=[2.0 if ood else 0.5 for ood in panel.is_ood],
        zorder=2,
    )
    if n <= _NUMBERED:
        _draw_numbers(axis, places, nodes.to_rgba(np.ma.masked_invalid(panel.values)))
    axis.axis("off")
    return nodes


def _draw_numbers(axis: Axes, places: NDArray[np.float64], fills: NDArray[np.float64]) -> None:
    for node, (place, fill) in enumerate(zip(places, fills, strict=True)):
        axis.text(
            float(place[0]),
            float(place[1]),
            str(node),
            color=_contrast(fill),
            fontsize=6 if node < 10 else 5.5,
            ha="center",
            va="center_baseline",
            clip_on=True,
            zorder=3,
        )


def _fit(nodes: PathCollection) -> None:
    """Sets the limits of a panel so that all circles and rings fit in, with the same scale in x and y."""
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


def _contrast(fill: NDArray[np.float64]) -> str:
    """Black or white, whichever has the higher contrast to a colour (RGBA), by WCAG's relative luminance."""
    linear = np.where(fill[:3] <= 0.04045, fill[:3] / 12.92, ((fill[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"
