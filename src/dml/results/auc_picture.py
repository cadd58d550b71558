"""The picture of a report: the OOD AUC per topology and strategy, and the floor that the controls give.

Experiments without OOD data that are not the controls of others show their IID AUC. Strategies are bars, and
the references (:data:`dml.results.config.REFERENCES`) are lines across the bars of their topology.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dml.files import beside
from dml.results.auc_layout import (
    AXIS,
    BAR,
    GAP,
    LEGEND,
    NAME,
    PLOT,
    TITLE,
    Panel,
    Sheet,
    arrange,
    height_of,
    panels_of,
)
from dml.results.strategy_tables import Row, StrategyTable
from dml.results.tables import sort_key

_DPI = 150
_MANY = 10
"""Up to this number, strategies get the colours of matplotlib's usual list, and otherwise of a longer one."""
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")

REFERENCE_LINES: dict[str, dict[str, Any]] = {
    "centralized": {"color": "0.7", "linestyle": "-", "linewidth": 3.5, "zorder": 3.1},
    "traversal": {"color": "black", "linestyle": "--", "linewidth": 1.2, "zorder": 3.2},
    "fedavg": {"color": "0.3", "linestyle": ":", "linewidth": 1.6, "zorder": 3.3},
}
"""The look of each reference. The first two are usually at the same height, and both are seen."""

_Styles = dict[str, dict[str, Any]]
"""The facecolor and the hatch of each strategy's bars."""


def write_auc_picture(tables: Sequence[StrategyTable], path: Path) -> list[str]:
    """Writes the picture of a report; the ending of the path determines its format.

    Returns:
        The tables, or parts of them, for which the picture has no room, one line each.

    Raises:
        OSError: the file cannot be written.
    """
    figure, left_out = auc_figure(tables)
    with beside(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format=path.suffix[1:])
    return left_out


def auc_figure(tables: Sequence[StrategyTable]) -> tuple[Figure, list[str]]:
    """Draws mean AUCs as bars with their standard deviation over runs, and floors as black lines across.

    References are lines if there are other strategies, and otherwise bars as well.

    Returns:
        The figure, and the tables, or parts of them, for which it has no room, one line each.
    """
    strategies = sorted({row["strategy"] for table in tables for row in table.rows}, key=sort_key)
    drawn = [name for name in strategies if name in REFERENCE_LINES]
    lines = drawn if len(drawn) < len(strategies) else []
    styles = _styles([name for name in strategies if name not in lines])
    handles = _handles(tables, styles, lines)
    panels = [panel for table in tables for panel in panels_of(table, lines)]
    sheet = arrange(panels, [str(handle.get_label()) for handle in handles])
    # pyplot would keep the figure in memory, and set the backend of the caller's own figures.
    figure = Figure(figsize=(sheet.width, sheet.height))
    FigureCanvasAgg(figure)
    figure.legend(
        handles=handles,
        ncols=sheet.columns,
        fontsize=LEGEND.points,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(sheet.legend / sheet.width, 1),
        borderaxespad=0.2,
        handlelength=1.4,
    )
    _draw_panels(figure, sheet, styles)
    counts = [(panel.heading, len(panel.topologies)) for panel in sheet.left_out]
    return figure, [f"{heading}: {count} topolog{'y' if count == 1 else 'ies'}" for heading, count in counts]


def _styles(strategies: list[str]) -> _Styles:
    """A colour for each strategy, and a hatch if there are more strategies than colours."""
    colours = colormaps["tab10" if len(strategies) <= _MANY else "tab20"].colors  # type: ignore[attr-defined]
    return {
        strategy: {
            "facecolor": colours[k % len(colours)],
            "hatch": _HATCHES[k // len(colours) % len(_HATCHES)],
        }
        for k, strategy in enumerate(strategies)
    }


def _handles(tables: Sequence[StrategyTable], styles: _Styles, lines: Sequence[str]) -> list[Artist]:
    """The entries of the legend, which is the same for all panels."""
    rows = [row for table in tables for row in table.rows]
    handles: list[Artist] = [
        Patch(label=strategy, edgecolor="white", linewidth=0, **style) for strategy, style in styles.items()
    ]
    handles += [Line2D([], [], label=name, **REFERENCE_LINES[name]) for name in lines]
    if any(row[f"{table.auc}_std"] > 0 for table in tables for row in table.rows):
        line = Line2D([], [], color="0.25", linestyle="", marker="|", markersize=9)
        line.set_label("deviation over runs")
        handles.append(line)
    if not all(math.isnan(row["floor_ood"]) for row in rows):
        handles.append(Line2D([], [], color="black", linewidth=1.4, label="floor (no OOD data)"))
    if not all(row["runs"] for row in rows):
        handles.append(Line2D([], [], color="black", linestyle="", marker="x", label=_lost(rows)))
    return handles


def _lost(rows: Sequence[Row]) -> str:
    """The meaning of a cross: a strategy none of whose runs is complete."""
    lost = [row for row in rows if not row["runs"]]
    words = [word for word in ("diverged", "stalled") if any(row[word] for row in lost)]
    return f"all runs {' or '.join(words)}"


def _draw_panels(figure: Figure, sheet: Sheet, styles: _Styles) -> None:
    top = sheet.height - sheet.above
    for row in sheet.rows:
        left, low = AXIS, top - max(panel.above for panel in row) - PLOT
        for panel in row:
            box = (left / sheet.width, low / sheet.height, panel.width / sheet.width, PLOT / sheet.height)
            _draw_panel(figure.add_axes(box), panel, styles)
            left += panel.width + GAP + AXIS
        top -= height_of(row)


def _draw_panel(axis: Axes, panel: Panel, styles: _Styles) -> None:
    """Draws one panel; its x axis is in inches, so that bars have the same width in all panels."""
    _draw_bars(axis, panel, styles)
    _draw_lines(axis, panel)
    axis.set_xticks(panel.ticks, ["\n".join(name) for name in panel.names], fontsize=NAME.points)
    axis.tick_params(axis="y", labelsize=NAME.points)
    axis.set_xlim(0, panel.width)
    axis.set_ylim(0, panel.top)
    name = "OOD" if panel.auc == "auc_ood" else "IID"
    label = f"{name} AUC" if panel.over == "rounds" else f"mean {name} accuracy in %,\nover {panel.over}"
    axis.set_ylabel(label, fontsize=TITLE.points)
    axis.set_title("\n".join(panel.title), fontsize=TITLE.points, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_bars(axis: Axes, panel: Panel, styles: _Styles) -> None:
    """Draws bars with their deviations and floors, and a cross for each strategy without a complete run."""
    rows = [row for part in panel.topologies for row in panel.bars_of(part)]
    left, middle, right = _places(panel)
    lost = np.array([not row["runs"] for row in rows])
    axis.plot(middle[lost], np.full(lost.sum(), panel.top / 40), "x", color="black", markersize=4)
    bars = [row for row in rows if row["runs"]]
    left, middle, right = left[~lost], middle[~lost], right[~lost]
    mean, deviation, floor = (
        np.array([row[column] for row in bars]) for column in (panel.auc, f"{panel.auc}_std", "floor_ood")
    )
    looks: dict[str, Any] = {
        key: [styles[row["strategy"]][key] for row in bars] for key in ("facecolor", "hatch")
    }
    axis.bar(middle, mean, right - left, edgecolor="white", linewidth=0, **looks)
    axis.errorbar(middle, mean, deviation, fmt="none", ecolor="0.25", elinewidth=1)
    axis.hlines(floor, left, right, color="black", linewidth=1.4, zorder=4)


def _draw_lines(axis: Axes, panel: Panel) -> None:
    """Draws references across their topologies, with their deviations at the right end."""
    for tick, part, slot in zip(panel.ticks, panel.topologies, panel.slots, strict=True):
        for row in panel.lines_of(part):
            ends, mean = (tick - slot / 2, tick + slot / 2), row[panel.auc]
            axis.plot(ends, (mean, mean), **REFERENCE_LINES[row["strategy"]])
            axis.errorbar(ends[1], mean, row[f"{panel.auc}_std"], fmt="none", ecolor="0.25", elinewidth=1)


def _places(panel: Panel) -> tuple[NDArray[np.float64], ...]:
    """The left side, the middle and the right side of each bar."""
    left, width = [], []
    for tick, part, slot in zip(panel.ticks, panel.topologies, panel.slots, strict=True):
        count = len(panel.bars_of(part))
        one = min(BAR, slot / max(count, 1))
        width += [one] * count
        left += [tick + (place - count / 2) * one for place in range(count)]
    lefts, widths = np.array(left), np.array(width)
    return lefts, lefts + widths / 2, lefts + widths
