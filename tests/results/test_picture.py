"""Pictures of summaries: what stands in them, and how large they grow."""

import json
import struct

import pandas as pd
import pytest
from matplotlib import pyplot

from dml.results import picture, tables

SETTINGS = {"dataset": "digits", "rounds": 10, "epochs": 5, "eval_every": "epoch", "lr": 0.05, "ood": 0.1}


def _runs(topologies, strategies, ood=(0.1,), auc=50.0, **flags):
    """One run of each strategy on each topology and for each share of OOD data; the n-th has n more AUC."""
    settings = [json.dumps(SETTINGS | {"ood": share} | flags, sort_keys=True) for share in ood]
    rows = [
        {"settings": s, "topology": t, "strategy": name, "place": t, "pair": t}
        | dict.fromkeys(tables.VALUES, auc + k if "0.1" in s else 10.0 + k)
        for s in settings
        for t in topologies
        for k, name in enumerate(strategies)
    ]
    return pd.DataFrame(rows)


def _table(*parts, diverged=None):
    return tables.summarise(tables.Runs(pd.concat(parts), [], diverged or {}, []))


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws, and gives the figure, the size in pixels, and what was left out."""
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)

    def draw(table):
        path = tmp_path / "ood_auc.png"
        left_out = picture.draw(table, path)
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert [p.name for p in tmp_path.iterdir()] == ["ood_auc.png"]
        return figures[-1], struct.unpack(">II", head[16:]), left_out

    yield draw
    monkeypatch.undo()
    for figure in figures:
        pyplot.close(figure)


def test_a_panel_holds_the_bars_of_its_own_strategies(drawn):
    table = _table(
        _runs(["chain:n=3", "chain:n=4"], ["unweighted", "degCent"]), _runs(["star:n=4"], ["random"], lr=0.1)
    )
    figure, _, _ = drawn(table)
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
def test_one_legend_has_every_strategy_with_the_look_it_has_in_all_panels(drawn, count):
    names = [f"degCent s={k:02}" for k in range(count)]
    figure, _, _ = drawn(_table(_runs(["chain:n=3"], names), _runs(["chain:n=3"], names[1:], lr=0.1)))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    looks = [(patch.get_facecolor(), patch.get_hatch()) for patch in legend.get_patches()]
    assert len(set(looks)) == count
    first, second = ([(bar.get_facecolor(), bar.get_hatch() or "") for bar in a.patches] for a in figure.axes)
    assert [(colour, hatch or "") for colour, hatch in looks] == first
    assert second == first[1:]


def test_the_floor_is_a_line_across_its_bar_and_controls_have_no_panel(drawn):
    figure, _, _ = drawn(_table(_runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0.1, 0))))
    (axis,) = figure.axes
    (lines,) = [c for c in axis.collections if c.get_colors()[0].tolist() == [0, 0, 0, 1]]
    for bar, line, floor in zip(axis.patches, lines.get_segments(), (10, 11), strict=True):
        right = bar.get_x() + bar.get_width()
        assert line.tolist() == [pytest.approx([bar.get_x(), floor]), pytest.approx([right, floor])]
    assert "floor (no OOD data)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_floor_above_its_bar_is_within_the_panel(drawn):
    figure, _, _ = drawn(_table(_runs(["chain:n=3"], ["unweighted"], ood=(0.1, 0), auc=4)))
    assert figure.axes[0].get_ylim()[1] > 10


def test_without_ood_data_bars_are_iid_aucs(drawn):
    """Each kind of a folder in panels of its own, and only that which is no floor."""
    iid = _runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0,), lr=0.2).assign(auc_test=[95.0, 96.0])
    again = iid.assign(auc_test=iid["auc_test"] + 2)
    figure, _, _ = drawn(_table(iid, again))
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == [96, 97]
    assert axis.get_ylabel() == "IID AUC"
    assert axis.get_ylim()[1] > 97 + 2**0.5
    assert "no OOD data" in axis.get_title(loc="left").replace("\n", " ")
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["unweighted", "degCent", "deviation over runs"]
    figure, _, _ = drawn(_table(iid, _runs(["chain:n=3"], ["unweighted", "degCent"], ood=(0.1, 0))))
    heights = {axis.get_ylabel(): [bar.get_height() for bar in axis.patches] for axis in figure.axes}
    assert heights == {"IID AUC": [95, 96], "OOD AUC": [50, 51]}
    floors = {axis.get_ylabel(): _floors(axis) for axis in figure.axes}
    assert floors == {"IID AUC": [], "OOD AUC": [10, 11]}


def _floors(axis):
    black = [c for c in axis.collections if c.get_colors()[:1].tolist() == [[0, 0, 0, 1]]]
    segments = [segment for lines in black for segment in lines.get_segments()]
    return [segment[0][1] for segment in segments if len(segment)]


def test_strategies_that_diverged_are_marked(drawn):
    settings = json.dumps(SETTINGS, sort_keys=True)
    lost = {(settings, "chain:n=3", "scale_agg"): 2}
    figure, _, _ = drawn(_table(_runs(["chain:n=3"], ["unweighted"]), diverged=lost))
    assert len(figure.axes[0].patches) == 1
    assert "all runs diverged" in [text.get_text() for text in figure.legends[0].get_texts()]
    figure, _, _ = drawn(_table(_runs([], []), pd.DataFrame(columns=[*_runs(["a"], ["b"])]), diverged=lost))
    assert not figure.axes[0].patches


def test_many_topologies_stand_in_rows_on_one_scale(drawn):
    chains, names = [f"chain:n={n}" for n in range(10, 22)], ["unweighted", "degCent"]
    figure, (width, _), left_out = drawn(_table(_runs(chains[:9], names), _runs(chains[9:], names, auc=90)))
    assert [len(axis.get_xticks()) for axis in figure.axes] == [6, 6]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert width <= 1800
    assert not left_out


@pytest.mark.slow
def test_a_folder_of_many_settings_stays_below_20000_pixels_and_the_rest_is_named(drawn):
    chains = [f"chain:n={n}" for n in range(10, 22)]
    rates = [round(0.01 * k, 2) for k in range(1, 31)]
    figure, (width, height), left_out = drawn(_table(*(_runs(chains, ["unweighted"], lr=r) for r in rates)))
    assert width <= 1800
    assert 10_000 < height < 20_000
    named = sum(int(line.rsplit(": ")[1].removesuffix(" topologies")) for line in left_out)
    assert sum(len(axis.get_xticks()) for axis in figure.axes) + named == 12 * 30
    assert left_out[-1].startswith("digits, 10 rounds x 5 epochs, measured each epoch, lr 0.3, OOD share 0.1")


def test_thirty_small_settings_are_all_drawn(drawn):
    rates = [round(0.01 * k, 2) for k in range(1, 31)]
    parts = [_runs(["chain:n=3"], ["unweighted", "degCent"], lr=r) for r in rates]
    figure, (_, height), left_out = drawn(_table(*parts))
    assert len(figure.axes) == 30
    assert height < 6000
    assert not left_out
