"""What a picture of nodes shows of each experiment: which values, and which words."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dml.errors import InputError
from dml.results import load
from dml.results.node_panels import MOST_NODES, limits, node_panel


def test_values_are_those_after_the_last_aggregation_or_after_a_round(tiny):
    result = load(tiny)
    last, trained = node_panel(result, "ood_acc", None), node_panel(result, "ood_acc", 1)
    assert last.values.tolist() == pytest.approx(result.arrays["metrics/ood_acc"][-1].tolist())
    assert last.when == "after the last aggregation"
    # Epoch 1 of round 1 is row 3; the row after the last aggregation is also of round 1.
    assert trained.values.tolist() == pytest.approx(result.arrays["metrics/ood_acc"][3].tolist())
    assert trained.when == "after training in round 1"


@pytest.mark.parametrize("metric", ["train_loss", "train_acc"])
def test_training_values_are_those_of_the_last_row_that_has_any(tiny, diverged, metric):
    """The row after the last aggregation never has."""
    for path, row in ((tiny, 3), (diverged(), 2)):
        panel = node_panel(load(path), metric, None)
        values = load(path).arrays[f"metrics/{metric}"][row]
        assert panel.values.tolist() == pytest.approx(values.tolist())
        assert panel.when == "after training in round 1"


@pytest.mark.parametrize(
    ("metric", "number", "words"),
    [("loss", None, "choose one of: train_loss"), ("ood_acc", 2, "has rounds 0 to 1")],
)
def test_a_metric_or_round_that_was_not_measured_is_refused(tiny, metric, number, words):
    with pytest.raises(InputError, match=re.escape(words)):
        node_panel(load(tiny), metric, number)


def test_a_file_without_measurements_is_refused(tiny):
    result = load(tiny)
    for name in ("round", "epoch"):
        result.arrays[f"metrics/{name}"] = result.arrays[f"metrics/{name}"][:0]
    with pytest.raises(InputError, match="nothing was measured in"):
        node_panel(result, "ood_acc", None)


def test_a_graph_that_is_too_large_is_refused(tiny):
    result = load(tiny)
    result.arrays["topology/degree"] = np.zeros(MOST_NODES + 1)
    with pytest.raises(InputError, match=f"has {MOST_NODES + 1} nodes; a picture shows at most {MOST_NODES}"):
        node_panel(result, "ood_acc", None)


def test_a_title_says_where_the_ood_data_are(tiny, tiny_control):
    titles = [node_panel(load(path), "ood_acc", None).title(with_time=False) for path in (tiny, tiny_control)]
    assert [lines[0] for lines in titles] == [
        "unweighted, seed 0, OOD on 0",
        "unweighted, seed 0, no OOD data",
    ]
    assert titles[0][1] == "chain:n=3"
    assert titles[0][2].startswith("mean 0.")
    result = load(tiny)
    result.config["backdoor_node_idx"] = [5, 6, 7, 8]
    assert node_panel(result, "ood_acc", None).title(with_time=False)[0].endswith("OOD on 5, 6, 7, ...")


def test_nodes_with_ood_data_are_marked(tiny, tiny_control):
    assert node_panel(load(tiny), "ood_acc", None).is_ood.tolist() == [True, False, False]
    assert not node_panel(load(tiny_control), "ood_acc", None).is_ood.any()


@pytest.mark.parametrize("lost", [[1], [0, 1, 2]])
def test_the_mean_is_over_nodes_that_have_not_diverged(diverged, lost):
    result = load(diverged(lost))
    panel = node_panel(result, "test_loss", None)
    assert np.isnan(panel.values).tolist() == [node in lost for node in range(3)]
    title = panel.title(with_time=True)
    left = [result.arrays["metrics/test_loss"][-1, node] for node in range(3) if node not in lost]
    assert title[2] == (f"mean {np.mean(left):.2f} (2 of 3 nodes)" if left else "not finite")
    assert title[3:] == ["after training in round 1", "diverged in round 1"]


def test_a_stalled_run_says_so_and_keeps_its_numbers(tiny):
    loaded = load(tiny)
    stalled = replace(loaded, attributes=loaded.attributes | {"status": "stalled"})
    title = node_panel(stalled, "test_acc", None).title(with_time=False)
    assert title[2:] == [f"mean {loaded.arrays['metrics/test_acc'][-1].mean():.2f}", "stalled in round 1"]


def test_accuracies_have_the_scale_from_0_to_1_and_other_metrics_that_of_their_values(tiny, tmp_path):
    result = load(tiny)
    assert limits("ood_acc", [node_panel(result, "ood_acc", None)]) == (0, 1)
    losses = [node_panel(result, "test_loss", number) for number in (0, 1)]
    values = np.concatenate([panel.values for panel in losses])
    assert limits("test_loss", losses) == (values.min(), values.max())
    result.arrays["metrics/train_loss"][:] = np.nan
    assert limits("train_loss", [node_panel(result, "train_loss", None)]) == (0, 1)
