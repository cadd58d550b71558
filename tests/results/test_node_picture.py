"""Pictures of graphs: what is drawn."""

from pathlib import Path

import numpy as np
import pytest

from dml.errors import ArgumentError, DamagedFileError, InputError
from dml.results import load
from dml.results.node_picture import draw_nodes, node_figure


def test_nodes_have_the_colours_of_their_values_and_ood_nodes_a_ring(tiny, tiny_control):
    results = [load(tiny), load(tiny_control)]
    figure = node_figure(results, "test_loss", 1)
    panels = figure.axes[:2]
    for panel, result in zip(panels, results, strict=True):
        nodes = panel.collections[1]  # the first are the edges
        # Epoch 1 of round 1 is row 3, the last before the aggregation.
        assert nodes.get_array().tolist() == pytest.approx(result.arrays["metrics/test_loss"][3].tolist())
        widths = list(nodes.get_linewidths())
        assert widths == ([2.0, 0.5, 0.5] if result.config["backdoor"] else [0.5] * 3)
    first, second = (p.collections[1].get_offsets() for p in panels)
    assert (first == second).all()  # one graph, one layout


def test_without_a_round_it_is_the_end(tiny):
    result = load(tiny)
    figure = node_figure([result], "ood_acc", None)
    nodes = figure.axes[0].collections[1]
    assert nodes.get_array().tolist() == pytest.approx(result.arrays["metrics/ood_acc"][-1].tolist())
    assert nodes.get_clim() == (0, 1)


class _Graph:
    """What a picture reads of a result: its nodes, and their edges."""

    def __init__(self, n, edges, ood=()):
        self.path = Path("made_up.h5")
        self.config = {"seed": 0, "backdoor": bool(ood), "backdoor_node_idx": list(ood)}
        self.config |= {"algorithm": "decentralized", "aggregation_strategy": "unweighted"}
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
def test_circles_and_titles_are_within_the_picture(beside):
    """Also those of graphs that are one line or one point, which have no width for a circle."""
    graphs = [_chain(5, ood=[0, 4]), _chain(2, ood=[0]), _Graph(1, [])]
    for results in [[graph] for graph in graphs] if beside == 1 else [graphs]:
        figure = node_figure(results, "ood_acc", None)
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


def test_small_graphs_have_numbers_that_stand_out_from_their_circles():
    figure = node_figure([_chain(40)], "ood_acc", None)
    axis = figure.axes[0]
    numbers = {int(text.get_text()): text for text in axis.texts}
    places = axis.collections[1].get_offsets()
    assert sorted(numbers) == list(range(40))
    assert all(text.get_position() == tuple(places[node]) for node, text in numbers.items())
    # viridis is dark at 0, light at 1
    assert (numbers[0].get_color(), numbers[39].get_color()) == ("white", "black")
    figure = node_figure([_chain(41)], "ood_acc", None)
    assert not figure.axes[0].texts


def test_a_number_in_a_grey_circle_is_black(diverged):
    figure = node_figure([load(diverged())], "test_loss", None)
    assert [text.get_color() for text in figure.axes[0].texts] == ["black"] * 3


def test_no_edge_of_a_chain_runs_through_another_node():
    figure = node_figure([_chain(5)], "ood_acc", None)
    places = np.asarray(figure.axes[0].collections[1].get_offsets())
    steps = np.diff(places, axis=0)
    assert (np.linalg.norm(steps, axis=1) > 0).all()
    assert (steps @ steps[0] > 0).all()  # always onwards


def _grey(nodes):
    """Whether each node has the colour of a node without a value."""
    nodes.figure.canvas.draw()
    return [tuple(np.round(colour[:3], 2)) == (0.85, 0.85, 0.85) for colour in nodes.get_facecolors()]


@pytest.mark.parametrize("metric", ["ood_acc", "test_acc", "test_loss", "consensus_distance"])
@pytest.mark.parametrize("lost", [[1], [0, 1, 2]])
@pytest.mark.filterwarnings("error")
def test_diverged_nodes_are_grey_and_the_panel_says_so(diverged, metric, lost):
    result = load(diverged(lost))
    figure = node_figure([result], metric, None)
    panel, bar = figure.axes
    nodes = panel.collections[1]
    assert len(nodes.get_offsets()) == 3
    assert _grey(nodes) == [node in lost for node in range(3)]
    title = panel.get_title()
    assert "diverged in round 1" in title
    left = [result.arrays[f"metrics/{metric}"][-1, node] for node in range(3) if node not in lost]
    assert (f"mean {np.mean(left):.2f} (2 of 3 nodes)" if left else "not finite") in title
    assert bar.get_ylabel() == f"{metric}, after training in round 1"


@pytest.mark.filterwarnings("error")
def test_nodes_that_did_not_train_are_grey(tiny):
    result = load(tiny)
    result.arrays["metrics/train_loss"][:, 2] = np.nan
    figure = node_figure([result], "train_loss", 1)
    assert _grey(figure.axes[0].collections[1]) == [False, False, True]


@pytest.mark.filterwarnings("error")
def test_the_colour_bar_says_when_the_values_were_measured_unless_the_panels_do(diverged, tiny):
    *_, bar = node_figure([load(tiny)], "ood_acc", None).axes
    assert bar.get_ylabel() == "ood_acc, after the last aggregation"
    first, second, bar = node_figure([load(tiny), load(diverged())], "ood_acc", None).axes
    assert "after the last aggregation" in first.get_title()
    assert "after training in round 1" in second.get_title()
    assert "diverged" not in first.get_title()
    assert bar.get_ylabel() == "ood_acc"


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_files_become_a_picture(tiny, tmp_path, ending, start):
    out = tmp_path / f"a.{ending}"
    draw_nodes([tiny], "ood_acc", None, out)
    assert out.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [out]


def test_files_that_cannot_be_drawn_are_named(tiny, tmp_path):
    (tmp_path / "bad.h5").write_text("not a result")
    out = tmp_path / "a.png"
    with pytest.raises(DamagedFileError, match=r"bad\.h5"):
        draw_nodes([tiny, tmp_path / "bad.h5"], "ood_acc", None, out)
    with pytest.raises(ArgumentError, match=r"FILE .*gone\.h5: no longer exists"):
        draw_nodes([tmp_path / "gone.h5"], "ood_acc", None, out)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(InputError, match=r"out .*a\.png: cannot be written \(it is a folder\)"):
        draw_nodes([tiny], "ood_acc", None, out)
