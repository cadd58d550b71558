"""The bytes of each message against the formulas, and against what was published of the three phases."""

import numpy as np
import pytest

from dml.traversal.messages import cut, grads, legacy3
from dml.traversal.split_messages import handed_in, handed_out, split

ROWS = np.array([[22, 21, 21], [0, 30, 34], [64, 0, 0]])
WIDTHS, PUBLISHED = (784, 256, 128), 242_762
"""The net 784-256-128-64-10."""

MODES = {
    "grads": grads(PUBLISHED),
    "cut": cut(200_960, 256, 0.8),
    "cut, labels at the node": cut(200_960, 256, 0.8, outputs=10, labels_at_node=True),
    "legacy3": legacy3(PUBLISHED, WIDTHS, 10),
    "legacy3 as published": legacy3(PUBLISHED, WIDTHS, 10, published=True),
    "split": split(256, 0.8),
    "split, labels at the node": split(256, 0.8, outputs=10, labels_at_node=True),
}


def bytes_of(phases, rows):
    """(bytes to the nodes, bytes from them) of each phase, as lists."""
    return [(phase.to_nodes(rows).tolist(), phase.from_nodes(rows).tolist()) for phase in phases]


def test_grads_sends_the_model_and_gets_a_gradient_with_two_sums():
    assert bytes_of(MODES["grads"], ROWS[1]) == [([0, 971_048, 971_048], [0, 971_056, 971_056])]


def test_a_cut_sends_its_lower_part_and_gets_rows_and_labels():
    forward, backward = bytes_of(MODES["cut"], ROWS[1])
    assert forward == ([0, 803_840, 803_840], [0, 30 * (1024 + 8), 34 * (1024 + 8)])
    assert backward == ([0, 30 * 1024, 34 * 1024], [0, 803_840, 803_840])


def test_labels_that_stay_cost_one_exchange_more():
    forward, loss, backward = bytes_of(MODES["cut, labels at the node"], ROWS[1])
    assert forward == ([0, 803_840, 803_840], [0, 30 * 1024, 34 * 1024])
    assert loss == ([0, 30 * 40, 34 * 40], [0, 30 * 40 + 8, 34 * 40 + 8])
    assert backward == bytes_of(MODES["cut"], ROWS[1])[1]


def test_split_learning_sends_rows_and_nothing_else():
    forward, backward = bytes_of(MODES["split"], ROWS[1])
    assert forward == ([0, 0, 0], [0, 30 * (1024 + 8), 34 * (1024 + 8)])
    assert backward == ([0, 30 * 1024, 34 * 1024], [0, 0, 0])
    assert [phase.messages for phase in MODES["split"]] == [1, 1]
    forward, loss, backward = bytes_of(MODES["split, labels at the node"], ROWS[1])
    assert forward == ([0, 0, 0], [0, 30 * 1024, 34 * 1024])
    assert loss == bytes_of(MODES["cut, labels at the node"], ROWS[1])[1]
    assert [phase.messages for phase in MODES["split, labels at the node"]] == [1, 2, 1]
    assert bytes_of(handed_out(40) + handed_in(40), ROWS[1]) == [
        ([0, 40, 40], [0] * 3),
        ([0] * 3, [0, 40, 40]),
    ]


def test_the_published_phases_move_two_megabytes_per_node_and_batch():
    """Of 64 rows on 3 nodes: 1,069,352 bytes down, 945,664 up on average, and the loss."""
    phases = MODES["legacy3 as published"]
    down, up = (
        sum(array)
        for array in zip(*[(p.to_nodes(ROWS[0]), p.from_nodes(ROWS[0])) for p in phases], strict=True)
    )
    assert down.tolist() == [1_069_352] * 3
    assert up.sum() == 3 * 945_664 + 3 * 8
    assert round((down + up).mean() / 1e6, 2) == 2.02


def test_ours_sends_each_node_its_own_rows_only():
    published, ours = (bytes_of(MODES[name], ROWS[0]) for name in ("legacy3 as published", "legacy3"))
    assert [down for down, _ in published[1:]] == [[64 * 512] * 3, [64 * 1024] * 3]
    assert [down for down, _ in ours[1:]] == [
        [22 * 512, 21 * 512, 21 * 512],
        [22 * 1024, 21 * 1024, 21 * 1024],
    ]
    assert [up for _, up in ours] == [up for _, up in published]
    assert ours[0] == published[0]


def test_a_cut_with_a_large_upper_part_sends_less_than_gradients():
    small = cut(lower=1000, activations=64, lower_work=0.1)
    total = [
        sum(np.sum(part) for pair in bytes_of(phases, ROWS[0]) for part in pair)
        for phases in (small, MODES["grads"])
    ]
    assert total[0] < total[1] / 50


@pytest.mark.parametrize("phases", MODES.values(), ids=MODES)
def test_a_node_without_rows_is_sent_nothing_and_sends_nothing(phases):
    for phase in phases:
        for array, sent in (
            (phase.to_nodes(ROWS), not phase.unasked),
            (phase.from_nodes(ROWS), not phase.unanswered),
        ):
            assert array.shape == ROWS.shape
            assert np.array_equal(array > 0, (ROWS > 0) & sent)


@pytest.mark.parametrize("name", MODES)
def test_the_work_of_all_phases_is_one_step(name):
    """The published phases leave out the gradient of the images, which nobody needs."""
    done = sum(phase.at_nodes + phase.at_orchestrator for phase in MODES[name])
    unneeded = 784 * 256 / PUBLISHED / 3 if name.startswith("legacy3") else 0
    assert done == pytest.approx(1 - unneeded + extra(name))


def extra(name):
    """The orchestrator of the published phases does the forward pass of the upper part again."""
    return (1 - (784 * 256 + 256 * 128) / PUBLISHED) / 3 if name.startswith("legacy3") else 0
