"""Pictures of graphs: what is drawn, and what is refused."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib import pyplot
from scripts import Script

from dml.errors import InputError
from dml.results import load, node_picture


@pytest.fixture
def drawn(monkeypatch):
    """The figure, which is not closed, and so can be looked at."""
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    yield lambda: pyplot.gcf()
    monkeypatch.undo()
    pyplot.close("all")


def test_nodes_have_the_colours_of_their_values_and_ood_nodes_a_ring(tiny, tiny_control, drawn, tmp_path):
    results = [load(tiny), load(tiny_control)]
    node_picture.draw(results, "test_loss", 1, tmp_path / "a.png")
    panels = drawn().axes[:2]
    for panel, result in zip(panels, results, strict=True):
        nodes = panel.collections[1]  # the first are the edges
        # Epoch 1 of round 1 is row 3, the last before the aggregation.
        assert nodes.get_array().tolist() == pytest.approx(result.arrays["metrics/test_loss"][3].tolist())
        widths = list(nodes.get_linewidths())
        assert widths == ([2.0, 0.5, 0.5] if result.config["backdoor"] else [0.5] * 3)
    first, second = (p.collections[1].get_offsets() for p in panels)
    assert (first == second).all()  # one graph, one layout


def test_without_a_round_it_is_the_end(tiny, drawn, tmp_path):
    result = load(tiny)
    node_picture.draw([result], "ood_acc", None, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    nodes = drawn().axes[0].collections[1]
    assert nodes.get_array().tolist() == pytest.approx(result.arrays["metrics/ood_acc"][-1].tolist())
    assert nodes.get_clim() == (0, 1)


class _Graph:
    """What a picture reads of a result: so many nodes, and their edges."""

    def __init__(self, n, edges, ood=()):
        self.path = Path("made_up.h5")
        self.config = {"seed": 0, "backdoor": bool(ood), "backdoor_node_idx": list(ood)}
        self.config["aggregation_strategy"] = "unweighted"
        self.attributes = {"graph_id": f"{n} {edges}", "status": "complete", "topology_family": "made up"}
        self.metrics = ["ood_acc"]
        self.arrays = {
            "topology/degree": np.zeros(n),
            "topology/edges": np.array(edges).reshape(-1, 2),
            "metrics/round": np.array([0]),
            "metrics/epoch": np.array([-1]),
        }

    def values(self, metric, row):
        return np.linspace(0, 1, len(self.arrays["topology/degree"]))


def _chain(n, **how):
    return _Graph(n, [(k, k + 1) for k in range(n - 1)], **how)


@pytest.mark.parametrize("beside", [1, 3])
def test_circles_and_titles_are_within_the_picture(drawn, tmp_path, beside):
    """Also of graphs that are one line or one point, whose own extent says nothing of a circle's."""
    graphs = [_chain(5, ood=[0, 4]), _chain(2, ood=[0]), _Graph(1, [])]
    for results in [[graph] for graph in graphs] if beside == 1 else [graphs]:
        node_picture.draw(results, "ood_acc", None, tmp_path / "a.png")
        figure = drawn()
        for axis in figure.axes[:-1]:
            nodes = axis.collections[1]
            centres = nodes.get_offset_transform().transform(nodes.get_offsets())
            reach = (np.sqrt(nodes.get_sizes()[0]) / 2 + max(nodes.get_linewidths()) / 2) * figure.dpi / 72
            box = axis.get_window_extent()
            assert (centres - reach >= box.min).all()
            assert (centres + reach <= box.max).all()
            title = axis.title.get_window_extent()
            assert title.y1 <= figure.bbox.y1
            assert title.y0 >= box.y1
            scale = np.abs(axis.transData.transform([(1, 1)]) - axis.transData.transform([(0, 0)]))[0]
            assert scale[0] == pytest.approx(scale[1])


def test_small_graphs_have_numbers_that_stand_out_from_their_circles(drawn, tmp_path):
    node_picture.draw([_chain(40)], "ood_acc", None, tmp_path / "a.png")
    axis = drawn().axes[0]
    numbers = {int(text.get_text()): text for text in axis.texts}
    places = axis.collections[1].get_offsets()
    assert sorted(numbers) == list(range(40))
    assert all(text.get_position() == tuple(places[node]) for node, text in numbers.items())
    # viridis is dark at 0, light at 1
    assert (numbers[0].get_color(), numbers[39].get_color()) == ("white", "black")
    node_picture.draw([_chain(41)], "ood_acc", None, tmp_path / "a.png")
    assert not drawn().axes[0].texts


def test_a_number_in_a_grey_circle_is_black(diverged, drawn, tmp_path):
    node_picture.draw([load(diverged())], "test_loss", None, tmp_path / "a.png")
    assert [text.get_color() for text in drawn().axes[0].texts] == ["black"] * 3


def test_no_edge_of_a_chain_runs_through_another_node(drawn, tmp_path):
    node_picture.draw([_chain(5)], "ood_acc", None, tmp_path / "a.png")
    places = np.asarray(drawn().axes[0].collections[1].get_offsets())
    steps = np.diff(places, axis=0)
    assert (np.linalg.norm(steps, axis=1) > 0).all()
    assert (steps @ steps[0] > 0).all()  # always onwards


def _grey(nodes):
    """Which nodes have the colour of what is not measured."""
    nodes.figure.canvas.draw()
    return [tuple(np.round(colour[:3], 2)) == (0.85, 0.85, 0.85) for colour in nodes.get_facecolors()]


@pytest.mark.parametrize("metric", ["ood_acc", "test_acc", "test_loss", "consensus_distance"])
@pytest.mark.parametrize("lost", [[1], [0, 1, 2]])
@pytest.mark.filterwarnings("error")
def test_diverged_nodes_are_grey_and_the_panel_says_so(diverged, drawn, tmp_path, metric, lost):
    result = load(diverged(lost))
    node_picture.draw([result], metric, None, tmp_path / "a.png")
    panel, bar = drawn().axes
    nodes = panel.collections[1]
    assert len(nodes.get_offsets()) == 3
    assert _grey(nodes) == [node in lost for node in range(3)]
    title = panel.get_title()
    assert "diverged in round 1" in title
    left = [result.arrays[f"metrics/{metric}"][-1, node] for node in range(3) if node not in lost]
    assert (f"mean {np.mean(left):.2f} (2 of 3 nodes)" if left else "not finite") in title
    assert bar.get_ylabel() == f"{metric}, after training in round 1"


@pytest.mark.filterwarnings("error")
def test_panels_of_different_ends_say_which_is_which(diverged, tiny, drawn, tmp_path):
    node_picture.draw([load(tiny), load(diverged())], "ood_acc", None, tmp_path / "a.png")
    first, second, bar = drawn().axes
    assert "after the last aggregation" in first.get_title()
    assert "after training in round 1" in second.get_title()
    assert "diverged" not in first.get_title()
    assert bar.get_ylabel() == "ood_acc"


@pytest.mark.parametrize("metric", ["train_loss", "train_acc"])
@pytest.mark.filterwarnings("error")
def test_training_values_are_those_of_the_last_row_that_has_any(tiny, diverged, drawn, tmp_path, metric):
    """The row after the last aggregation never has."""
    for path, row, last in ((tiny, 3, 1), (diverged(), 2, 1)):
        result = load(path)
        node_picture.draw([result], metric, None, tmp_path / "a.png")
        panel, bar = drawn().axes
        values = result.arrays[f"metrics/{metric}"][row]
        assert panel.collections[1].get_array().tolist() == pytest.approx(values.tolist())
        assert bar.get_ylabel() == f"{metric}, after training in round {last}"


@pytest.mark.filterwarnings("error")
def test_nodes_that_did_not_train_are_grey(tiny, drawn, tmp_path):
    result = load(tiny)
    result.arrays["metrics/train_loss"][:, 2] = np.nan
    node_picture.draw([result], "train_loss", 1, tmp_path / "a.png")
    assert _grey(drawn().axes[0].collections[1]) == [False, False, True]


@pytest.mark.parametrize(
    ("metric", "number", "words"), [("loss", None, "there are: train_loss"), ("ood_acc", 2, "has 0 to 1")]
)
def test_what_was_not_measured_is_refused(tiny, tmp_path, metric, number, words):
    with pytest.raises(InputError, match=re.escape(words)):
        node_picture.draw([load(tiny)], metric, number, tmp_path / "a.png")


def test_a_panel_says_where_the_ood_data_are(tiny, tiny_control, drawn, tmp_path):
    node_picture.draw([load(tiny), load(tiny_control)], "ood_acc", None, tmp_path / "a.png")
    titles = [axis.get_title().splitlines()[0] for axis in drawn().axes[:2]]
    assert titles == ["unweighted, seed 0, OOD on 0", "unweighted, seed 0, no OOD data"]


def test_a_sweeps_table_among_the_files_is_no_result(script: Script, tiny: Path, tmp_path: Path):
    (tmp_path / "summary.h5").write_bytes(b"the table of a sweep")
    called = script("draw_nodes.py", tiny, "summary.h5")
    assert called.returncode == 0, called.stderr


def test_the_script(script: Script, tiny: Path, tmp_path: Path):
    called = script("draw_nodes.py", tiny, "--metric", "test_acc", "--round", 0)
    assert (called.returncode, called.stdout) == (0, "nodes.png\n"), called.stderr
    assert (tmp_path / "nodes.png").stat().st_size > 5000
    for wrong in (
        ["none.h5"],
        [tiny, "--out", "a.txt"],
        [tiny, "--out", "no/a.png"],
        [tiny, "--metric", "x"],
    ):
        called = script("draw_nodes.py", *wrong)
        assert called.returncode == 2
        assert called.stderr.startswith("error: ")
        assert "Traceback" not in called.stderr
    (tmp_path / "b.png").mkdir()
    for wrong, says in (
        (["none.h5"], "error: FILE none.h5: no such file"),
        ([tmp_path], f"error: FILE {tmp_path}: is a folder"),
        ([], "error: FILE: name at least one"),
        ([tiny, "--out", "b.png"], "error: --out b.png: cannot be written (Is a directory)"),
    ):
        called = script("draw_nodes.py", *wrong)
        assert (called.returncode, called.stderr.startswith(says)) == (2, True), called.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "nodes.png"]


def test_the_script_names_a_damaged_file_and_takes_endings_in_capitals(script, tiny, tmp_path):
    shutil.copyfile(tiny, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["topology/edges"][0, 1] = 99
    called = script("draw_nodes.py", "bad.h5")
    assert called.returncode == 1
    assert called.stderr.startswith("error: bad.h5 cannot be read (")
    assert len(called.stderr.splitlines()) == 1
    assert script("draw_nodes.py", tiny, "--out", "x.PNG").returncode == 0
    assert (tmp_path / "x.PNG").read_bytes().startswith(b"\x89PNG")
