"""The summary as a picture: OOD AUC by topology and strategy, and the floor that the controls give.

Experiments without OOD data that are nobody's floor show their IID AUC.

A panel shows one settings, or some of its topologies where not all fit beside one another. Panels stand in
rows, as words in a text. All lengths are in inches.
"""

import json
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml.results import files, report, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

DPI = 150
WIDTH, HEIGHT = 12.0, 120.0
"""The largest picture: 1,800 x 18,000 pixels."""
_BAR, _SLOT, _GAP = 0.16, 1.2, 0.2
"""A bar; the least that a topology takes, for its name; between two topologies or panels."""
_AXIS, _NARROWEST, _PLOT = 0.65, 2.4, 2.1
"""Left of a panel, for the axis; the least width of a panel; the height of its bars."""
_TITLE, _NAME, _LEGEND = (8, 0.15, 0.066), (7, 0.13, 0.06), (8, 0.2, 0.068)
"""Of a text: points, height of a line, width of a letter."""
_MANY = 10
"""So many strategies have a colour each of matplotlib's usual ones, twice as many one of its longer list."""
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")


@dataclass(frozen=True)
class _Panel:
    heading: str
    topologies: "list[tuple[list[str], pd.DataFrame]]"
    """Of each its name, in lines, and its rows."""
    slots: list[float]
    """Of each the width."""
    measured: str
    """The column of the AUC that the bars show."""
    top: float
    """Where the scale of the AUC ends: at one height in all panels of a settings."""

    @property
    def bars(self) -> float:
        return sum(self.slots) + _GAP * len(self.slots)

    @property
    def width(self) -> float:
        return max(self.bars, _NARROWEST)

    @property
    def title(self) -> list[str]:
        whole = self.heading.replace(" ", "\xa0").replace(",\xa0", ", ")  # lines end after commas only
        lines = textwrap.wrap(whole, int((self.width + _GAP) / _TITLE[2]))
        return [line.replace("\xa0", " ") for line in lines]

    @property
    def above(self) -> float:
        return _TITLE[1] * (len(self.title) + 0.7)

    @property
    def height(self) -> float:
        return self.above + _PLOT + _NAME[1] * (max(len(name) for name, _ in self.topologies) + 2)


@dataclass(frozen=True)
class _Sheet:
    rows: list[list[_Panel]]
    left_out: list[_Panel]
    width: float
    height: float
    columns: int
    """Of the legend."""
    legend: float
    """Where the legend begins, from the left."""
    above: float
    """What it takes above the panels: nothing where it stands beside them."""


def draw(table: "pd.DataFrame", path: Path) -> list[str]:
    """Bars of mean AUCs with their standard deviation over runs; a black line across each is its floor.

    Returns:
        The settings, or parts of them, for which the picture has no room, a line each.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    own = report.shown(table)
    settings = [json.loads(text) for text in table["settings"].unique()]
    panels = [
        panel
        for text, part in own.groupby("settings", sort=False)
        for panel in _panels(
            part, report.heading(json.loads(str(text)), settings), report.measured(str(text))
        )
    ]
    styles = _styles(sorted(own["strategy"].unique(), key=tables.rank))
    handles = _handles(own, styles)
    sheet = _sheet(panels, handles)
    figure = pyplot.figure(figsize=(sheet.width, sheet.height))
    figure.legend(
        handles=handles,
        ncols=sheet.columns,
        fontsize=_LEGEND[0],
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(sheet.legend / sheet.width, 1),
        borderaxespad=0.2,
        handlelength=1.4,
    )
    top = sheet.height - sheet.above
    for row in sheet.rows:
        left, low = _AXIS, top - max(panel.above for panel in row) - _PLOT
        for panel in row:
            box = (left / sheet.width, low / sheet.height, panel.width / sheet.width, _PLOT / sheet.height)
            _fill(figure.add_axes(box), panel, styles)
            left += panel.width + _GAP + _AXIS
        top -= _height(row)
    try:
        with files.beside(path) as made:
            figure.savefig(made, dpi=DPI, format=path.suffix[1:])
    finally:
        pyplot.close(figure)
    counts = [(panel.heading, len(panel.topologies)) for panel in sheet.left_out]
    return [f"{heading}: {count} topolog{'y' if count == 1 else 'ies'}" for heading, count in counts]


def _panels(part: "pd.DataFrame", heading: str, measured: str) -> list[_Panel]:
    """The rows of one settings, in as many panels as the width of the picture asks for."""
    most = WIDTH - _AXIS - 2 * _GAP
    highest = np.nanmax([*(part[measured] + part[f"{measured}_std"].fillna(0)), *part["floor_ood"], 0])
    top = 1.05 * highest if highest > 0 else 1.0
    topologies = list(part.groupby("topology", sort=False))
    slots = [min(most - _GAP, max(_SLOT, _BAR * len(rows))) for _, rows in topologies]
    room = sum(slots) + _GAP * len(slots)
    # Panels of about one width, not full ones and a rest.
    enough = min(most, room / math.ceil(room / most) + max(slots) / 2)
    panels = [_Panel(heading, [], [], measured, top)]
    for (topology, rows), slot in zip(topologies, slots, strict=True):
        if panels[-1].slots and panels[-1].bars + slot + _GAP > enough:
            panels.append(_Panel(f"{heading}, continued", [], [], measured, top))
        kind, _, arguments = str(topology).partition(":")
        letters = int(slot / _NAME[2])
        name = textwrap.wrap(kind, letters) + textwrap.wrap(arguments.replace(",", " "), letters)
        panels[-1].topologies.append((name, rows))
        panels[-1].slots.append(slot)
    return panels


def _sheet(panels: list[_Panel], handles: "list[Artist]") -> _Sheet:
    """Where all stands. The legend is on the right of the panels where there is room, else above them."""
    column = _LEGEND[2] * max(len(str(handle.get_label())) for handle in handles) + 0.5
    rows: list[list[_Panel]] = [[]]
    for panel in panels:
        if rows[-1] and _width([*rows[-1], panel]) > WIDTH:
            rows.append([])
        rows[-1].append(panel)
    width = max(map(_width, rows))
    alone = _LEGEND[1] * len(handles)
    aside = width + column <= WIDTH and alone <= max(2 * _PLOT, sum(map(_height, rows)))
    columns = 1 if aside else max(1, int(width / column))
    legend = _LEGEND[1] * math.ceil(len(handles) / columns) + 0.1
    above = 0.0 if aside else legend
    fit = max(1, int((np.cumsum([_height(row) for row in rows]) <= HEIGHT - above).sum()))
    return _Sheet(
        rows=rows[:fit],
        left_out=[panel for row in rows[fit:] for panel in row],
        width=width + column if aside else max(width, column),
        height=max(legend, above + sum(map(_height, rows[:fit]))),
        columns=columns,
        legend=width if aside else 0.0,
        above=above,
    )


def _width(row: list[_Panel]) -> float:
    return sum(_AXIS + panel.width + _GAP for panel in row) - _GAP / 2


def _height(row: list[_Panel]) -> float:
    return max(panel.height for panel in row)


def _styles(strategies: list[str]) -> dict[str, dict[str, object]]:
    """A colour for each, and a hatch where there are more than colours."""
    from matplotlib import colormaps

    colours = colormaps["tab10" if len(strategies) <= _MANY else "tab20"].colors  # type: ignore[attr-defined]
    return {
        strategy: {
            "facecolor": colours[k % len(colours)],
            "hatch": _HATCHES[k // len(colours) % len(_HATCHES)],
        }
        for k, strategy in enumerate(strategies)
    }


def _handles(table: "pd.DataFrame", styles: dict[str, dict[str, object]]) -> "list[Artist]":
    """The legend, which is that of all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Patch(label=strategy, edgecolor="white", linewidth=0, **style)  # type: ignore[arg-type]
        for strategy, style in styles.items()
    ]
    if any((part[f"{report.measured(text)}_std"] > 0).any() for text, part in table.groupby("settings")):
        line = Line2D([], [], color="0.25", linestyle="", marker="|", markersize=9)
        line.set_label("deviation over runs")
        handles.append(line)
    if table["floor_ood"].notna().any():
        handles.append(Line2D([], [], color="black", linewidth=1.4, label="floor (no OOD data)"))
    if not table["runs"].all():
        handles.append(Line2D([], [], color="black", linestyle="", marker="x", label="all runs diverged"))
    return handles


def _fill(axis: "Axes", panel: _Panel, styles: dict[str, dict[str, object]]) -> None:
    """Draws a panel; its x axis is in inches, so that bars have one width in all panels."""
    import pandas as pd

    start = (panel.width - panel.bars + _GAP) / 2
    ticks, placed = [], []
    for (_, rows), slot in zip(panel.topologies, panel.slots, strict=True):
        width = min(_BAR, slot / len(rows))
        ticks.append(start + slot / 2)
        left = ticks[-1] + (np.arange(len(rows)) - len(rows) / 2) * width
        placed.append(rows.assign(left=left, x=left + width / 2, right=left + width))
        start += slot + _GAP
    bars = pd.concat(placed)
    lost, bars = bars[bars["runs"] == 0], bars[bars["runs"] > 0]
    axis.plot(lost["x"], np.full(len(lost), panel.top / 40), "x", color="black", markersize=4)
    looks = [styles[strategy] for strategy in bars["strategy"]]
    each = {key: [look[key] for look in looks] for key in ("facecolor", "hatch")}
    means, deviations = bars[panel.measured], bars[f"{panel.measured}_std"]
    axis.bar(bars["x"], means, bars["right"] - bars["left"], edgecolor="white", linewidth=0, **each)  # type: ignore[arg-type]
    axis.errorbar(bars["x"], means, deviations, fmt="none", ecolor="0.25", elinewidth=1)
    axis.hlines(bars["floor_ood"], bars["left"], bars["right"], color="black", linewidth=1.4, zorder=4)
    axis.set_xticks(ticks, ["\n".join(name) for name, _ in panel.topologies], fontsize=_NAME[0])
    axis.tick_params(axis="y", labelsize=_NAME[0])
    axis.set_xlim(0, panel.width)
    axis.set_ylim(0, panel.top)
    axis.set_ylabel("OOD AUC" if panel.measured == "auc_ood" else "IID AUC", fontsize=_TITLE[0])
    axis.set_title("\n".join(panel.title), fontsize=_TITLE[0], loc="left")
    axis.spines[["top", "right"]].set_visible(False)
