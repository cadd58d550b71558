"""Pictures of reports: what they show, and how large they grow."""

import json
import math
import struct

import pandas as pd
import pytest

from dml.results.auc_picture import auc_figure, write_auc_picture
from dml.results.runs import VALUES, Runs
from dml.results.strategy_tables import strategy_tables
from dml.results.tables import summarise

SETTINGS = {"dataset": "digits", "rounds": 10, "epochs": 5, "eval_every": "epoch", "lr": 0.05, "ood": 0.1}


def _runs(topologies, strategies, ood=(0.1,), auc=50.0, **flags):
    """One run of each strategy on each topology and for each share of OOD data; the n-th has n more AUC."""
    settings = [json.dumps(SETTINGS | {"ood": share} | flags, sort_keys=True) for share in ood]
    rows = [
        {"settings": s, "topology": t, "strategy": name, "place": t, "pair": t, "budget": math.nan}
        | dict.fromkeys(VALUES, auc + k if "0.1" in s else 10.0 + k)
        for s in settings
        for t in topologies
        for k, name in enumerate(strategies)
    ]
    return pd.DataFrame(rows)


def _tables(*parts, diverged=None, stalled=None):
    return strategy_tables(summarise(Runs(pd.concat(parts), [], diverged or {}, stalled or {}, [])))


def _figure(*parts, diverged=None, stalled=None):
    figure, left_out = auc_figure(_tables(*parts, diverged=diverged, stalled=stalled))
    assert not left_out
    return figure


def _size(path):
    """Of a PNG, in pixels."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:])


def test_a_panel_holds_the_bars_of_its_own_strategies():
    chains = _runs(["chain:n=3", "chain:n=4"], ["unweighted", "degCent"])
    figure = _figure(chains, _runs(["star:n=4"], ["random"], lr=0.1))
    first, second = figure.axes
    assert [bar.get_height() for bar in first.patches] == [50, 51, 50, 51]
    assert [bar.get_height() for bar in second.patches] == [50]
    assert {round(bar.get_width(), 6) for axis in figure.axes for bar in axis.patches} == {0.16}
    for axis in figure.axes:  # in inches, as they stand on the paper
        assert axis.get_xlim()[1] == pytest.approx(axis.get_position().width * figure.get_figwidth())
        lefts = [bar.get_x() for bar in axis.patches]
        assert lefts[0] > 0
        assert lefts == sorted(lefts)


@pytest.mark.parametrize("count", [3, 12, 45])
def test_one_legend_has_every_strategy_with_the_look_it_has_in_all_panels(count):
    names = [f"degCent s={k:02}" for k in range(count)]
    figure = _figure(_runs(["chain:n=3"], names), _runs(["chain:n=3"], names[1:], lr=0.1))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    looks = [(patch.get_facecolor(), patch.get_hatch()) for patch in legend.get_patches()]
    assert len(set(looks)) == count
    first, second = ([(bar.get_facecolor(), bar.get_hatch() or "") for bar in a.patches] for a in figure.axes)
    assert [(colour, hatch or "") for colour, hatch in looks] == first
    assert second == first[1:]


def test_the_floor_is_a_line_across_its_bar_and_controls_have_no_panel():
    figure = _figure(_runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0.1, 0)))
    (axis,) = figure.axes
    (lines,) = [c for c in axis.collections if c.get_colors()[0].tolist() == [0, 0, 0, 1]]
    for bar, line, floor in zip(axis.patches, lines.get_segments(), (10, 11), strict=True):
        right = bar.get_x() + bar.get_width()
        assert line.tolist() == [pytest.approx([bar.get_x(), floor]), pytest.approx([right, floor])]
    assert "floor (no OOD data)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_floor_above_its_bar_is_within_the_panel():
    figure = _figure(_runs(["chain:n=3"], ["unweighted"], ood=(0.1, 0), auc=4))
    assert figure.axes[0].get_ylim()[1] > 10


def test_without_ood_data_bars_are_iid_aucs():
    """Each kind of a folder in panels of its own, and only that which is no floor."""
    iid = _runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0,), lr=0.2).assign(auc_test=[95.0, 96.0])
    again = iid.assign(auc_test=iid["auc_test"] + 2)
    figure = _figure(iid, again)
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == [96, 97]
    assert axis.get_ylabel() == "IID AUC"
    assert axis.get_ylim()[1] > 97 + 2**0.5
    assert "no OOD data" in axis.get_title(loc="left").replace("\n", " ")
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["unweighted", "degCent", "deviation over runs"]
    figure = _figure(iid, _runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0.1, 0)))
    heights = {axis.get_ylabel(): [bar.get_height() for bar in axis.patches] for axis in figure.axes}
    assert heights == {"IID AUC": [95, 96], "OOD AUC": [50, 51]}
    floors = {axis.get_ylabel(): _floors(axis) for axis in figure.axes}
    assert floors == {"IID AUC": [], "OOD AUC": [10, 11]}


def _floors(axis):
    black = [c for c in axis.collections if c.get_colors()[:1].tolist() == [[0, 0, 0, 1]]]
    segments = [segment for lines in black for segment in lines.get_segments()]
    return [segment[0][1] for segment in segments if len(segment)]


def test_strategies_that_diverged_are_marked():
    settings = json.dumps(SETTINGS, sort_keys=True)
    lost = {(settings, "chain:n=3", "scale_agg"): 2}
    figure = _figure(_runs(["chain:n=3"], ["unweighted"]), diverged=lost)
    assert len(figure.axes[0].patches) == 1
    assert "all runs diverged" in [text.get_text() for text in figure.legends[0].get_texts()]
    figure = _figure(_runs([], []), pd.DataFrame(columns=[*_runs(["a"], ["b"])]), diverged=lost)
    assert not figure.axes[0].patches


def test_strategies_that_stalled_are_marked():
    settings = json.dumps(SETTINGS, sort_keys=True)
    lost = {(settings, "chain:n=3", name): 1 for name in ("degCent", "weighted")}
    for diverged, label in ((None, "all runs stalled"), (lost, "all runs diverged or stalled")):
        figure = _figure(_runs(["chain:n=3"], ["unweighted"]), diverged=diverged, stalled=lost)
        assert label in [text.get_text() for text in figure.legends[0].get_texts()]
        assert [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "x"] == [2]


def test_many_topologies_stand_in_rows_on_one_scale():
    chains, names = [f"chain:n={n}" for n in range(10, 22)], ["unweighted", "degCent"]
    figure = _figure(_runs(chains[:9], names), _runs(chains[9:], names, auc=90))
    assert [len(axis.get_xticks()) for axis in figure.axes] == [6, 6]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1


def test_a_picture_is_a_png_with_nothing_beside_it(tmp_path):
    tables = _tables(_runs([f"chain:n={n}" for n in range(10, 22)], ["unweighted", "degCent"]))
    path = tmp_path / "ood_auc.png"
    assert write_auc_picture(tables, path) == []
    width, height = _size(path)
    assert 1000 < width <= 1800
    assert 300 < height < 2000
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_names_what_it_has_no_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr("dml.results.auc_layout.HEIGHT", 3)
    parts = [_runs(["chain:n=3"], ["unweighted"], lr=lr) for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
    left_out = write_auc_picture(_tables(*parts), tmp_path / "a.png")
    assert left_out[-1] == (
        "digits, 10 rounds x 5 epochs, measured each epoch, lr 0.5, OOD share 0.1: 1 topology"
    )
    assert 0 < len(left_out) < 5


def test_a_picture_at_equal_cost_says_over_what_and_until_when():
    runs = _runs(["cycle:n=16, OOD rank 4"], ["unweighted", "dpsgd"], auc_over="bytes").assign(budget=11.8e6)
    (axis,) = _figure(runs).axes
    assert axis.get_ylabel() == "mean OOD accuracy in %,\nover bytes"
    (name,) = [label.get_text() for label in axis.get_xticklabels()]
    assert name.splitlines() == ["cycle", "n=16", "OOD rank 4", "until 11.8 MB"]


def test_a_strategy_without_an_auc_has_no_bar_and_is_not_marked_as_lost():
    runs = _runs(["cycle:n=16"], ["unweighted", "dpsgd"], auc_over="bytes").assign(budget=1.0)
    runs.loc[1, "auc_ood"] = float("nan")
    figure = _figure(runs)
    assert [bar.get_height() > 0 for bar in figure.axes[0].patches] == [True, False]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unweighted", "dpsgd"]


def _across(axis):
    """The left end, the right end and the height of each line across a topology, by its style."""
    lines = [line for line in axis.lines if line.get_marker() != "x" and len(line.get_xdata()) == 2]
    return [(line.get_linestyle(), *line.get_xdata(), *{*line.get_ydata()}) for line in lines]


def test_references_are_lines_across_the_bars_of_their_topology():
    names = ["unweighted", "degCent", "centralized", "traversal", "fedavg"]
    figure = _figure(_runs(["chain:n=3", "chain:n=4"], names))
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == [50, 51, 50, 51]
    first, second = axis.patches[:2], axis.patches[2:]
    across = _across(axis)
    assert [height for *_, height in across] == [52, 53, 54] * 2
    for style, left, right, _ in across[:3]:
        assert left < first[0].get_x() < first[1].get_x() + first[1].get_width() < right < second[0].get_x()
        assert style in ("-", "--", ":")
    assert len({style for style, *_ in across[:3]}) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert [line.get_linestyle() for line in legend.get_lines()] == ["-", "--", ":"]
    assert axis.get_ylim()[1] > 54


def test_centralized_training_is_seen_behind_traversal_learning_at_the_same_height():
    figure = _figure(_runs(["chain:n=3"], ["unweighted", "centralized", "traversal"]))
    below, above = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 2)
    assert below.get_linewidth() > 2 * above.get_linewidth()
    assert below.get_zorder() < above.get_zorder()
    assert below.get_color() != above.get_color()


def test_references_alone_and_variants_of_one_are_bars():
    alone = ["centralized", "traversal", "fedavg"]
    (axis,) = _figure(_runs(["chain:n=3"], alone)).axes
    assert [bar.get_height() for bar in axis.patches] == [50, 51, 52]
    assert not _across(axis)
    (axis,) = _figure(
        _runs(["chain:n=3"], ["unweighted", "traversal mode=cut=1", "traversal mode=cut=2"])
    ).axes
    assert len(axis.patches) == 3
    assert not _across(axis)


def test_a_reference_none_of_whose_runs_is_complete_is_marked():
    lost = {(json.dumps(SETTINGS, sort_keys=True), "chain:n=3", "centralized"): 1}
    figure = _figure(_runs(["chain:n=3"], ["unweighted"]), diverged=lost)
    assert not _across(figure.axes[0])
    assert [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "x"] == [1]


def test_a_line_has_its_deviation_over_runs_at_its_end():
    runs = _runs(["chain:n=3"], ["unweighted", "centralized"])
    (axis,) = _figure(runs, runs.assign(auc_ood=runs["auc_ood"] + 4)).axes
    ((_, _, right, height),) = _across(axis)
    (segment,) = axis.containers[-1].lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [right, right]
    assert segment[:, 1] == pytest.approx([height - 8**0.5, height + 8**0.5])
