"""Where everything stands in the picture of a report, and how large it grows."""

import math

import pytest

from dml.results.auc_layout import HEIGHT, WIDTH, arrange, panels_of
from dml.results.strategy_tables import StrategyTable, TopologyRows

CHAINS = [f"chain:n={n}" for n in range(10, 22)]


def _row(auc=50.0, deviation=math.nan, floor=math.nan):
    return {"strategy": "unweighted", "runs": 1, "auc_ood": auc, "auc_ood_std": deviation, "floor_ood": floor}


def _table(topologies, rows=None, heading="digits, 10 rounds"):
    parts = tuple(TopologyRows(topology, tuple(rows or [_row()]), None) for topology in topologies)
    return StrategyTable(heading, "auc_ood", (), parts)


def test_a_table_that_fits_is_one_panel():
    (panel,) = panels_of(_table(CHAINS[:3]))
    assert panel.heading == "digits, 10 rounds"
    assert [part.topology for part in panel.topologies] == CHAINS[:3]
    assert len(panel.ticks) == 3
    assert 0 < panel.ticks[0] < panel.ticks[1] < panel.ticks[2] < panel.width


def test_a_wide_table_is_cut_into_panels_of_about_one_width():
    panels = list(panels_of(_table(CHAINS)))
    assert [panel.heading for panel in panels] == ["digits, 10 rounds", "digits, 10 rounds, continued"]
    assert [len(panel.topologies) for panel in panels] == [6, 6]
    assert [part.topology for panel in panels for part in panel.topologies] == CHAINS
    assert all(panel.width <= WIDTH for panel in panels)


@pytest.mark.parametrize(
    ("rows", "reach"),
    [
        ([_row(40.0), _row(50.0)], 50),
        ([_row(40.0, deviation=15.0), _row(50.0)], 55),
        ([_row(4.0, floor=10.0)], 10),
        ([_row(math.nan), _row(50.0)], 50),
    ],
)
def test_the_scale_holds_bars_deviations_and_floors(rows, reach):
    (panel,) = panels_of(_table(CHAINS[:1], rows))
    assert panel.top == pytest.approx(1.05 * reach)


def test_a_scale_without_any_bar_has_a_length():
    (panel,) = panels_of(_table(CHAINS[:1], [_row(math.nan)]))
    assert panel.top == 1


def test_a_title_ends_its_lines_after_commas():
    heading = "digits, 10 rounds x 5 epochs, measured each epoch, learning rate 0.05, OOD share 0.1"
    (panel,) = panels_of(_table(CHAINS[:1], heading=heading))
    assert len(panel.title) > 1
    assert " ".join(panel.title) == heading
    assert all(line.endswith(",") for line in panel.title[:-1])


def test_panels_stand_in_rows_as_words_in_a_text():
    panels = [panel for k in range(30) for panel in panels_of(_table(CHAINS[:1], heading=f"table {k}"))]
    sheet = arrange(panels, ["unweighted", "degCent"])
    assert [panel for row in sheet.rows for panel in row] == panels
    assert len(sheet.rows) < 30
    assert sheet.width <= WIDTH
    assert sheet.height < 40
    assert not sheet.left_out


def test_what_does_not_fit_is_left_out_at_the_end():
    tables = [_table(CHAINS, heading=f"table {k}") for k in range(30)]
    panels = [panel for table in tables for panel in panels_of(table)]
    sheet = arrange(panels, ["unweighted"])
    assert [panel for row in sheet.rows for panel in row] + sheet.left_out == panels
    assert sheet.left_out[-1].heading == "table 29, continued"
    assert 0.8 * HEIGHT < sheet.height <= HEIGHT


def test_a_long_legend_stands_above_the_panels():
    panels = list(panels_of(_table(CHAINS[:1])))
    aside, above = arrange(panels, ["a"] * 3), arrange(panels, ["degCent s=0.0625"] * 45)
    assert (aside.above, aside.columns) == (0, 1)
    assert aside.legend > 0
    assert above.above > 1
    assert above.legend == 0
    assert above.height > aside.height
