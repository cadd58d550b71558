"""The layout of the picture of a report: the legend, and panels in rows, like words in a text.

A panel shows one table, or some of its topologies if they do not all fit next to one another. All lengths are
in inches.
"""

import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dml.results.config import Over
from dml.results.runs import without_rank
from dml.results.strategy_tables import Row, StrategyTable, TopologyRows

WIDTH, HEIGHT = 12.0, 120.0
"""The size of the largest picture."""

BAR, GAP = 0.16, 0.2
"""The width of a bar, and the space between two topologies or panels."""

AXIS, PLOT = 0.65, 2.1
"""The space for the axis to the left of a panel, and the height of its bars."""

_SLOT, _NARROWEST = 1.2, 2.4
"""The smallest width of a topology, which its name needs, and of a panel."""


@dataclass(frozen=True)
class Font:
    """A font of the picture.

    Args:
        points: the size.
        height: the height of a line.
        letter: the average width of a letter.
    """

    points: float
    height: float
    letter: float


TITLE, NAME, LEGEND = Font(8, 0.15, 0.066), Font(7, 0.13, 0.06), Font(8, 0.2, 0.068)


@dataclass(frozen=True)
class Panel:
    """A table, or a part of one.

    Args:
        heading: the heading of the table.
        auc: the column that the bars show.
        top: the upper end of the scale, which is the same in all panels of a table.
        over: over what AUCs are formed.
        topologies: the rows of each topology.
        lines: the strategies that are drawn as lines.
        names: the name of each topology, in lines.
        slots: the width of each topology.
    """

    heading: str
    auc: str
    top: float
    over: Over
    topologies: list[TopologyRows]
    lines: Collection[str]
    names: list[list[str]]
    slots: list[float]

    def bars_of(self, part: TopologyRows) -> list[Row]:
        """The rows of a topology that are bars, or a cross if no run is complete."""
        return [row for row in part.rows if not _is_line(row, self.lines)]

    def lines_of(self, part: TopologyRows) -> list[Row]:
        """The rows of a topology that are lines."""
        return [row for row in part.rows if _is_line(row, self.lines)]

    @property
    def bars(self) -> float:
        """The width of all topologies."""
        return sum(self.slots) + GAP * len(self.slots)

    @property
    def width(self) -> float:
        """The width of the panel without its axis."""
        return max(self.bars, _NARROWEST)

    @property
    def title(self) -> list[str]:
        """The heading, broken into lines only after commas."""
        whole = self.heading.replace(" ", "\xa0").replace(",\xa0", ", ")
        lines = textwrap.wrap(whole, int((self.width + GAP) / TITLE.letter))
        return [line.replace("\xa0", " ") for line in lines]

    @property
    def above(self) -> float:
        """The height of the title."""
        return TITLE.height * (len(self.title) + 0.7)

    @property
    def height(self) -> float:
        """The height of the panel with its title and the names of its topologies."""
        return self.above + PLOT + NAME.height * (max(map(len, self.names)) + 2)

    @property
    def ticks(self) -> list[float]:
        """The middle of each topology, from the left."""
        start = (self.width - self.bars + GAP) / 2
        middles = []
        for slot in self.slots:
            middles.append(start + slot / 2)
            start += slot + GAP
        return middles


@dataclass(frozen=True)
class Sheet:
    """The arrangement of all panels and of the legend.

    Args:
        rows: the panels that fit, from top to bottom.
        left_out: the panels that do not fit.
        width, height: the size of the picture.
        columns: the number of columns of the legend.
        legend: the distance of the legend from the left.
        above: the height of the legend if it is above the panels, and 0 if it is next to them.
    """

    rows: list[list[Panel]]
    left_out: list[Panel]
    width: float
    height: float
    columns: int
    legend: float
    above: float


def panels_of(table: StrategyTable, lines: Collection[str] = ()) -> Iterator[Panel]:
    """Divides a table into panels that fit into the width of the picture.

    Args:
        table: the table.
        lines: the strategies that are lines across their topology, and take no room.
    """
    most = WIDTH - AXIS - 2 * GAP
    highest = np.nanmax([0, *(_reach(row, table.auc) for row in table.rows)])
    top = float(1.05 * highest) if highest > 0 else 1.0
    bars = [sum(not _is_line(row, lines) for row in part.rows) for part in table.topologies]
    slots = [min(most - GAP, max(_SLOT, BAR * count)) for count in bars]
    room = sum(slots) + GAP * len(slots)
    # Make panels of about the same width, instead of full ones and a small last one.
    enough = min(most, room / math.ceil(room / most) + max(slots) / 2)
    panel = Panel(table.heading, table.auc, top, table.over, [], lines, [], [])
    for part, slot in zip(table.topologies, slots, strict=True):
        if panel.slots and panel.bars + slot + GAP > enough:
            yield panel
            panel = Panel(f"{table.heading}, continued", table.auc, top, table.over, [], lines, [], [])
        name = without_rank(part.topology)
        kind, _, arguments = name.partition(":")
        rank = part.topology[len(name) :].lstrip(", ")
        letters = int(slot / NAME.letter)
        until = f"until {part.budget}" if part.budget else ""
        words = [kind, arguments.replace(",", " "), rank, until]
        panel.names.append([line for text in words for line in textwrap.wrap(text, letters)])
        panel.topologies.append(part)
        panel.slots.append(slot)
    yield panel


def _is_line(row: Row, lines: Collection[str]) -> bool:
    """Whether a row is a line. Without a complete run it has no height, and is marked as other rows are."""
    return row["strategy"] in lines and bool(row["runs"])


def _reach(row: Row, auc: str) -> float:
    """The height of a bar with its deviation, or of its floor; NaN without a complete run."""
    deviation = row[f"{auc}_std"]
    return float(np.fmax(row[auc] + (0 if math.isnan(deviation) else deviation), row["floor_ood"]))


def arrange(panels: Sequence[Panel], labels: Sequence[str]) -> Sheet:
    """Arranges the panels. The legend is to their right if there is room, and otherwise above them.

    Args:
        panels: the panels in reading order.
        labels: the entries of the legend.
    """
    column = LEGEND.letter * max(map(len, labels)) + 0.5
    rows: list[list[Panel]] = [[]]
    for panel in panels:
        if rows[-1] and _width_of([*rows[-1], panel]) > WIDTH:
            rows.append([])
        rows[-1].append(panel)
    width = max(map(_width_of, rows))
    alone = LEGEND.height * len(labels)
    aside = width + column <= WIDTH and alone <= max(2 * PLOT, sum(map(height_of, rows)))
    columns = 1 if aside else max(1, int(width / column))
    legend = LEGEND.height * math.ceil(len(labels) / columns) + 0.1
    above = 0.0 if aside else legend
    fit = max(1, int((np.cumsum([height_of(row) for row in rows]) <= HEIGHT - above).sum()))
    return Sheet(
        rows=rows[:fit],
        left_out=[panel for row in rows[fit:] for panel in row],
        width=width + column if aside else max(width, column),
        height=max(legend, above + sum(map(height_of, rows[:fit]))),
        columns=columns,
        legend=width if aside else 0.0,
        above=above,
    )


def _width_of(row: list[Panel]) -> float:
    return sum(AXIS + panel.width + GAP for panel in row) - GAP / 2


def height_of(row: list[Panel]) -> float:
    """The height of a row of panels."""
    return max(panel.height for panel in row)
