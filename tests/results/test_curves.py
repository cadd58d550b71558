"""The picture of curves: which lines it has, and where they go."""

import json

import numpy as np
import pandas as pd
import pytest

from dml.results.curves import curves_figure, mean_line, write_curves
from dml.results.judged import Course
from dml.results.judges import JUDGES

SETTINGS = {"dataset": "digits", "rounds": 10, "local_steps": 5, "eval_every": 1, "ood": 0}


def _course(seconds, accuracy, ood=None):
    """Measurements at given seconds, 10 updates and a megabyte apart; the last of them is the final one."""
    steps = np.arange(1, len(seconds) + 1)
    costs = {"simulated_s": np.array(seconds, float), "updates": 10.0 * steps, "bytes": 1e6 * steps}
    test, other = (
        {judge: np.array(values, float) for judge in JUDGES} for values in (accuracy, ood or accuracy)
    )
    return Course(costs, test, other, steps == len(seconds))


def _runs(names, topologies=("cycle:n=4",), **settings):
    rows = [
        {"file": f"{name} {topology}", "settings": json.dumps(SETTINGS | settings), "topology": topology}
        | {"strategy": name}
        for name in names
        for topology in topologies
    ]
    return pd.DataFrame(rows)


def test_one_run_is_drawn_as_it_was_measured_without_its_final_row():
    line = mean_line([_course([1, 2, 4, 4], [0.1, 0.2, 0.3, 0.9])], "simulated_s", "IID", "nodes")
    assert (line.x.tolist(), line.mean.tolist()) == ([1, 2, 4], [0.1, 0.2, 0.3])
    assert np.isnan(line.deviation).all()


def test_runs_measured_at_the_same_costs_are_averaged_there():
    courses = [_course([1, 2, 2], [0.1, 0.5, 0.5]), _course([3, 9, 9], [0.3, 0.9, 0.9])]
    line = mean_line(courses, "updates", "IID", "nodes")
    assert line.x.tolist() == [10, 20]
    assert line.mean == pytest.approx([0.2, 0.7])
    assert line.deviation == pytest.approx(np.std([[0.1, 0.5], [0.3, 0.9]], axis=0, ddof=1))


def test_runs_measured_at_different_seconds_are_interpolated_where_all_have_values():
    """Accuracies that rise by 0.1 and by 0.2 a second."""
    courses = [_course([1, 2, 4, 4], [0.1, 0.2, 0.4, 0]), _course([2, 3, 3], [0.4, 0.6, 0])]
    line = mean_line(courses, "simulated_s", "IID", "nodes")
    assert (line.x[0], line.x[-1]) == (2, 3)
    assert line.mean == pytest.approx(0.15 * line.x)
    assert mean_line([courses[0], _course([5, 6, 6], [0.1, 0.2, 0])], "simulated_s", "IID", "nodes") is None


def test_several_runs_without_a_line_are_counted_so_that_their_names_stay_in_the_panel():
    none = _course([np.nan] * 3, [0.2, 0.6, 0.6])
    figure, _ = curves_figure(_runs(["a", "b"]), {"a cycle:n=4": none, "b cycle:n=4": none}, "nodes")
    assert [text.get_text() for text in figure.axes[1].texts] == [
        "not measured: 2 of the lines (--judged_by)"
    ]


def test_a_run_without_a_clock_has_no_line_and_the_panel_says_so():
    clock, none = _course([1, 2, 2], [0.1, 0.5, 0.5]), _course([np.nan] * 3, [0.2, 0.6, 0.6])
    courses = {"a cycle:n=4": clock, "b cycle:n=4": none}
    figure, left_out = curves_figure(_runs(["a", "b"]), courses, "nodes")
    assert not left_out
    updates, seconds, sent = figure.axes
    assert [len(axis.lines) for axis in (updates, seconds, sent)] == [2, 1, 2]
    assert [text.get_text() for text in seconds.texts] == ["not measured: b"]
    assert not updates.texts
    assert [axis.get_xlabel() for axis in figure.axes] == ["updates", "simulated seconds", "bytes"]
    assert updates.get_ylabel() == "IID accuracy, average node"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_single_measurement_is_a_dot_and_no_axis_shows_parts_of_a_byte():
    course = _course([3, 3], [0.5, 0.5])
    course.costs["bytes"][:] = 0
    figure, _ = curves_figure(_runs(["a"]), {"a cycle:n=4": course}, "nodes")
    assert [axis.lines[0].get_marker() for axis in figure.axes] == ["."] * 3
    assert figure.axes[2].get_xlim() == (0, 1)
    assert {*figure.axes[2].get_xticks()} == {0, 1}


def test_a_line_is_named_by_its_topology_if_there_are_several():
    course = _course([1, 2, 2], [0.1, 0.5, 0.5])
    runs = _runs(["a"], ["cycle:n=4", "star:n=4"])
    figure, _ = curves_figure(runs, dict.fromkeys(runs["file"], course), "worst")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a, cycle:n=4", "a, star:n=4"]
    assert figure.axes[0].get_ylabel() == "IID accuracy, worst node"


def test_references_look_as_in_the_picture_of_aucs():
    course = _course([1, 2, 2], [0.1, 0.5, 0.5])
    runs = _runs(["a", "centralized", "traversal", "b"])
    figure, _ = curves_figure(runs, dict.fromkeys(runs["file"], course), "nodes")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "centralized", "traversal"]
    assert [line.get_linestyle() for line in legend.get_lines()] == ["-", "-", "-", "--"]
    assert [line.get_color() for line in legend.get_lines()[2:]] == ["0.7", "black"]


def test_ood_data_have_a_row_of_their_own():
    course = _course([1, 2, 2], [0.1, 0.5, 0.5], ood=[0.3, 0.4, 0.4])
    figure, _ = curves_figure(_runs(["a"], ood=0.1), {"a cycle:n=4": course}, "nodes")
    iid, ood = figure.axes[0], figure.axes[3]
    assert [axis.get_ylabel().split()[0] for axis in (iid, ood)] == ["IID", "OOD"]
    assert [axis.lines[0].get_ydata().tolist() for axis in (iid, ood)] == [[0.1, 0.5], [0.3, 0.4]]


def test_more_settings_than_the_picture_has_room_for_are_named():
    course = _course([1, 2, 2], [0.1, 0.5, 0.5])
    runs = pd.concat([_runs(["a"], rounds=rounds) for rounds in range(10, 42)])
    figure, left_out = curves_figure(runs, {"a cycle:n=4": course}, "nodes")
    assert len(figure.axes) == 3 * 30
    assert [words.split(",")[1] for words in left_out] == [" 40 rounds x 5 steps", " 41 rounds x 5 steps"]


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_decides_the_format(tmp_path, ending, start):
    course = _course([1, 2, 2], [0.1, 0.5, 0.5])
    path = tmp_path / f"curves.{ending}"
    assert write_curves(_runs(["a"]), {"a cycle:n=4": course}, "nodes", path) == []
    assert path.read_bytes().startswith(start)
