"""Plans of batches of single nodes, one after another or side by side, in the order of each node's passes."""

import numpy as np
import pytest

from dml.training.orders import Passes
from dml.traversal.own_batches import in_turn, own_batches

COUNTS = np.array([5, 0, 9, 4, 1])


def orders(epoch, shuffle=True):
    """The samples of each node as every algorithm sees them whose nodes train by themselves."""
    passes = Passes(COUNTS, 4, shuffle, np.full(5, 3))
    return [passes.order(node, epoch) for node in range(5)]


@pytest.mark.parametrize(("flags", "key"), [({}, 2), ({"order": "fixed"}, 0), ({"shuffle": False}, None)])
def test_one_after_another_each_node_takes_its_own_batches(flags, key):
    plan = own_batches(COUNTS, 4, 3, 2, **flags)
    visits = [plan.visits(batch) for batch in range(plan.batches)]
    assert [[visit.node for visit in found] for found in visits] == [[0], [0], [2], [2], [2], [3], [4]]
    assert np.diff(plan.bounds).tolist() == [4, 1, 4, 4, 1, 4, 1]
    for node, order in enumerate(orders(key or 0, shuffle=key is not None)):
        own = [visit.local for found in visits for visit in found if visit.node == node]
        assert np.array_equal(np.concatenate([np.empty(0, int), *own]), order)


def test_side_by_side_a_step_has_the_next_batch_of_every_node_that_has_one_left():
    plan = own_batches(COUNTS, 4, 3, 2, side_by_side=True)
    assert plan.rows.tolist() == [[4, 0, 4, 4, 1], [1, 0, 4, 0, 0], [0, 0, 1, 0, 0]]
    for batch in range(3):
        for visit in plan.visits(batch):
            assert np.array_equal(visit.local, orders(2)[visit.node][4 * batch : 4 * batch + 4])


def test_a_server_takes_the_batches_of_a_step_in_an_order_of_its_own():
    counts = np.full(6, 16)
    plan = own_batches(counts, 4, 3, 2, side_by_side=True)
    found = in_turn(plan, 3)
    assert found.bounds.tolist() == [0, 6, 12, 18, 24]
    steps = [found.nodes[a:b].tolist() for a, b in zip(found.bounds, found.bounds[1:], strict=False)]
    assert all(sorted(step) == list(range(6)) for step in steps)
    assert len({tuple(step) for step in steps}) > 1
    for turn, node in enumerate(found.nodes.tolist()):
        (own,), (step,) = found.plan.visits(turn), np.nonzero(turn < found.bounds[1:])[0][:1]
        assert own.node == node
        assert np.array_equal(own.local, plan.visits(int(step))[node].local)
    assert in_turn(own_batches(counts, 4, 3, 1, side_by_side=True), 3).nodes.tolist() != found.nodes.tolist()
