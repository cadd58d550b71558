"""The picture of curves: accuracy against updates, simulated seconds and bytes, side by side.

One row of panels per settings, and a second one for the OOD test set if there are OOD data. A line is the
mean over the runs of an algorithm on a topology, and the band around it their standard deviation.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from dml.files import beside
from dml.results.auc_layout import LEGEND, NAME, TITLE
from dml.results.auc_picture import REFERENCE_LINES
from dml.results.judged import COSTS, Course
from dml.results.judges import JUDGES, Judge
from dml.results.strategy_tables import heading
from dml.results.tables import sort_key

_DPI = 150
_WIDTH, _HEIGHT, _MOST_ROWS = 12.0, 3.0, 30
"""The width of the picture, the height of a row in inches, and the largest number of rows."""
_DASHES = ("-", "--", ":", "-.")
_POINTS = 200
"""The number of points of a line that is the mean over runs."""

_Styles = dict[str, dict[str, Any]]
"""The color and the line style of each line, by its label."""


@dataclass(frozen=True)
class Line:
    """The runs of one algorithm on one topology.

    Args:
        x: the cost, [P].
        mean: the mean accuracy over the runs, [P].
        deviation: its standard deviation over the runs, [P]; NaN for one run.
    """

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def write_curves(runs: pd.DataFrame, courses: Mapping[str, Course], judge: Judge, path: Path) -> list[str]:
    """Writes the picture; the ending of the path determines its format.

    Args:
        runs: the table of :class:`~dml.results.runs.Runs`.
        courses: the course of each run by its column ``file``; runs without one are left out.
        judge: by whose model the runs are judged.
        path: the path of the picture.

    Returns:
        The rows of panels for which the picture has no room, one line each.

    Raises:
        OSError: the file cannot be written.
    """
    figure, left_out = curves_figure(runs, courses, judge)
    with beside(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format=path.suffix[1:].lower())
    return left_out


def curves_figure(
    runs: pd.DataFrame, courses: Mapping[str, Course], judge: Judge
) -> tuple[Figure, list[str]]:
    """Draws the curves.

    Returns:
        The figure, and the rows of panels for which it has no room, one line each.
    """
    runs = runs[runs["file"].isin(list(courses))]
    names = runs["strategy"].astype(str)
    if runs["topology"].nunique() > 1:
        names += ", " + runs["topology"]
    runs = runs.assign(label=names)
    rows, left_out = _rows(runs)[:_MOST_ROWS], _rows(runs)[_MOST_ROWS:]
    styles = _styles(sorted(runs["label"].unique(), key=sort_key))
    columns = max(1, int(_WIDTH / (LEGEND.letter * max(map(len, styles), default=1) + 0.6)))
    above = LEGEND.height * -(-len(styles) // columns) + 0.1
    # pyplot would keep the figure in memory, and set the backend of the caller's own figures.
    figure = Figure(figsize=(_WIDTH, above + _HEIGHT * max(1, len(rows))))
    FigureCanvasAgg(figure)
    figure.legend(
        handles=[Line2D([], [], label=label, **style) for label, style in styles.items()],
        ncols=columns,
        fontsize=LEGEND.points,
        frameon=False,
        loc="upper left",
        borderaxespad=0.2,
    )
    height = figure.get_figheight()
    for number, (title, kind, part) in enumerate(rows):
        low = height - above - _HEIGHT * (number + 1) + 0.55
        axes = [
            figure.add_axes(((0.6 + 3.85 * column) / _WIDTH, low / height, 3.45 / _WIDTH, 2.1 / height))
            for column in range(len(COSTS))
        ]
        axes[0].set_title(title, fontsize=TITLE.points, loc="left")
        axes[0].set_ylabel(f"{kind} accuracy, {JUDGES[judge]}", fontsize=TITLE.points)
        for axis, cost in zip(axes, COSTS, strict=True):
            _draw(axis, part, courses, cost, kind, judge, styles)
    return figure, [f"{title}: {kind} accuracy" for title, kind, _ in left_out]


def _rows(runs: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """The rows of panels: their title, their test set and their runs."""
    every = [json.loads(settings) for settings in runs["settings"].unique()]
    rows = []
    for text, part in runs.groupby("settings", sort=False):
        settings = json.loads(str(text))
        rows += [
            (heading(settings, every), kind, part)
            for kind in (("IID", "OOD") if settings["ood"] else ("IID",))
        ]
    return rows


def _styles(labels: Sequence[str]) -> _Styles:
    """A colour for each label, and another kind of dashes if there are more labels than colours.

    A reference on a single topology looks as in the picture of AUCs.
    """
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    others = [label for label in labels if label not in REFERENCE_LINES]
    own = {
        label: {
            "color": colours[k % len(colours)],
            "linestyle": _DASHES[k // len(colours) % len(_DASHES)],
            "linewidth": 1.4,
        }
        for k, label in enumerate(others)
    }
    return {label: own.get(label) or REFERENCE_LINES[label] for label in labels}


def _draw(
    axis: Axes,
    part: pd.DataFrame,
    courses: Mapping[str, Course],
    cost: str,
    kind: str,
    judge: Judge,
    styles: _Styles,
) -> None:
    missing = []
    for label, own in part.groupby("label"):
        line = mean_line([courses[file] for file in own["file"]], cost, kind, judge)
        if line is None:
            missing.append(str(label))
            continue
        style = styles[str(label)]
        # A line without an extent, as that of a single measurement, would not be seen.
        axis.plot(line.x, line.mean, marker="." if np.ptp(line.x) == 0 else "", **style)
        low, high = line.mean - line.deviation, line.mean + line.deviation
        axis.fill_between(line.x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    if missing:
        # Names of several algorithms with their options would run into the next panel.
        words = missing[0] if len(missing) == 1 else f"{len(missing)} of the lines (--judged_by)"
        words = textwrap.fill(f"not measured: {words}", 50)
        axis.text(0.02, 0.02, words, fontsize=NAME.points, color="0.35", transform=axis.transAxes)
    axis.set_xlabel(COSTS[cost], fontsize=TITLE.points)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=cost != "simulated_s"))
    axis.xaxis.set_major_formatter(EngFormatter(unit="B" if cost == "bytes" else ""))
    axis.tick_params(labelsize=NAME.points)
    # Next to nothing, there would be parts of an update and of a byte.
    axis.set_xlim(0, max(1, axis.get_xlim()[1]) if cost != "simulated_s" else None)
    axis.set_ylim(0, 1)
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def mean_line(courses: Sequence[Course], cost: str, kind: str, judge: Judge) -> Line | None:
    """The mean over runs of their accuracies against a cost.

    Runs are measured at different costs, as their seconds differ. So each run is interpolated linearly
    between its measurements, from the cost at which the last of them is first measured to that at which the
    first of them ends. The measurement after the last aggregation does not count, as in AUCs.

    Args:
        courses: the courses of the runs.
        cost: one of ``COSTS``.
        kind: ``IID`` or ``OOD``, the test set.
        judge: by whose model the runs are judged.

    Returns:
        The line; None if one of the runs was not measured, or they have no cost in common.
    """
    points = []
    for course in courses:
        values = (course.test if kind == "IID" else course.ood)[judge]
        known = ~course.final & np.isfinite(values) & np.isfinite(course.costs[cost])
        if not known.any():
            return None
        points.append((course.costs[cost][known], values[known]))
    start, end = max(x[0] for x, _ in points), min(x[-1] for x, _ in points)
    if start > end:
        return None
    same = all(np.array_equal(x, points[0][0]) for x, _ in points)
    grid = points[0][0] if same else np.linspace(start, end, _POINTS)
    found = np.stack([np.interp(grid, x, y) for x, y in points])
    several = len(found) > 1
    deviation = found.std(axis=0, ddof=1) if several else np.full(len(grid), np.nan)
    return Line(grid, found.mean(axis=0), deviation)
