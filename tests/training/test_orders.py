"""Each node passes over its own data again and again, whatever the rounds and the models are."""

import numpy as np
import pytest

from dml import randomness
from dml.training.orders import Passes

SAMPLES = np.array([7, 4, 1])
BATCH = 3


def passes(shuffle: bool = True, **more) -> Passes:
    return Passes(SAMPLES, BATCH, shuffle, np.full(3, 9), **more)


def batches_of(node: int, first: int, count: int) -> list[list[int]]:
    """The plain form: the node's samples of each of some steps, counted over all passes."""
    per_pass = -(-SAMPLES[node] // BATCH)
    found = []
    for step in range(first, first + count):
        number, batch = divmod(step, per_pass)
        order = randomness.generator(9, "batch order", node, number).permutation(SAMPLES[node])
        found.append(order[batch * BATCH : (batch + 1) * BATCH].tolist())
    return found


def taken(orders: Passes, node: int, count: int) -> list[list[int]]:
    number, batch = (int(x[0]) for x in orders.take(np.array([node]), np.array([count])))
    found = []
    for _ in range(count):
        order = orders.order(node, number)
        found.append(order[batch * BATCH : (batch + 1) * BATCH].tolist())
        batch += 1
        if batch == orders.batches[node]:
            number, batch = number + 1, 0
    return found


def test_the_last_batch_of_a_pass_may_be_smaller() -> None:
    assert passes().batches.tolist() == [3, 2, 1]


def test_a_nodes_next_steps_go_on_where_its_last_ones_ended() -> None:
    orders = passes()
    for node in (0, 1, 2):
        first = 0
        for count in (2, 1, 5, 4):
            assert taken(orders, node, count) == batches_of(node, first, count)
            first += count
    assert orders.passes.tolist() == [4, 6, 12]
    assert orders.taken.tolist() == [0, 0, 0]


def test_a_node_named_twice_takes_both_in_turn() -> None:
    """As where two walks meet: the second one gets the batches after those of the first."""
    orders = passes()
    number, batch = orders.take(np.array([0, 1, 0]), np.array([2, 1, 3]))
    assert list(zip(number.tolist(), batch.tolist(), strict=True)) == [(0, 0), (0, 0), (0, 2)]
    assert (orders.passes[0], orders.taken[0]) == (1, 2)


def test_the_samples_that_some_steps_see() -> None:
    """Of 7 samples in batches of 3, 3 and 1: from the second step on, 4 steps see 3 + 1 + 3 + 3."""
    seen = passes().seen(np.array([0, 2]), np.array([1, 0]), np.array([4, 5]))
    assert seen.tolist() == [10, 5]


def test_every_pass_sees_each_sample_once_and_has_an_order_of_its_own() -> None:
    orders = [passes().order(0, number).tolist() for number in range(4)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert passes(shuffle=False).order(0, 3).tolist() == list(range(7))


def test_a_node_of_a_stack_has_the_order_of_its_own_experiment() -> None:
    """Node 2 of the stack is node 0 of an experiment with another seed."""
    stack = Passes(np.array([7, 7, 7]), BATCH, True, np.array([9, 9, 4]), np.array([0, 1, 0]))
    alone = Passes(np.array([7]), BATCH, True, np.array([4]))
    assert stack.order(2, 5).tolist() == alone.order(0, 5).tolist()
    assert stack.order(0, 5).tolist() != stack.order(2, 5).tolist()


def test_a_saved_state_goes_on_and_holds_steps_only_where_a_pass_is_unfinished() -> None:
    whole = passes()
    whole.take(np.arange(3), whole.batches)
    assert set(whole.state()) == {"passes"}
    orders = passes()
    taken(orders, 0, 2)
    state = orders.state()
    assert {name: array.tolist() for name, array in state.items()} == {
        "passes": [0, 0, 0],
        "taken": [2, 0, 0],
    }
    again = passes()
    again.load_state(state)
    assert taken(again, 0, 3) == taken(orders, 0, 3) == batches_of(0, 2, 3)
    assert state["taken"].tolist() == [2, 0, 0], "a state is a copy"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"passes": np.zeros(2, int)}, "passes has the shape"),
        ({"passes": np.zeros(3, int), "taken": np.array([0, 2, 0])}, "more steps of a pass than it has"),
        ({"passes": np.zeros(3, int), "taken": np.array([0, -1, 0])}, "taken does not count"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state: dict[str, np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        passes().load_state(state)
