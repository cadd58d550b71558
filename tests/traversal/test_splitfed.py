"""SplitFed learning against a plain loop of torch, with a lower part for each node and one upper part."""

import pytest
import torch
from split_runs import TRAININGS, SplitRun, norm, plain_splitfed, training
from virtual_batches import data_of, deep


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(("k", "modules", "keep"), [(1, 2, False), (2, 4, True)])
def test_it_is_a_plain_loop_over_steps_and_nodes(name, k, modules, keep):
    run = SplitRun(training=training(name), build=deep, cut=k, keep=keep).rounds(3)
    expected = plain_splitfed(TRAININGS[name][1], modules, 3, 2, build=deep, keep=keep)
    torch.testing.assert_close(run.numbers, expected, rtol=0, atol=1e-12)
    run.population.check_views()


@pytest.mark.parametrize(("k", "modules"), [(1, 2), (2, 3), (3, 5)])
def test_statistics_of_batch_norm_below_the_cut_are_averaged(k, modules):
    run = SplitRun(training=training(), build=norm, cut=k, keep=False).rounds(2)
    expected = plain_splitfed(TRAININGS["sgd"][1], modules, 2, 2, build=norm)
    torch.testing.assert_close(run.numbers, expected, rtol=0, atol=1e-12)


def test_within_a_round_the_row_has_the_mean_and_nodes_go_on_with_their_own():
    """A round of two passes is not two rounds of one, but is measured where the first of them ends."""
    seen = []
    run = SplitRun(training=training(), cut=1)
    run.execution_measure = run._measure

    def measure(told):
        seen.append(run.numbers.clone())
        return run.execution_measure(told)

    run._measure = measure
    run.rounds(1)
    ones = SplitRun(training=training(epochs=1), cut=1).rounds(1)
    assert torch.equal(seen[0], ones.numbers)
    assert not torch.equal(seen[1], ones.rounds(1).numbers)


def test_steps_go_on_where_the_last_round_ended():
    """With one step in each round, the lower parts are averaged after every step."""
    run = SplitRun(training=training(epochs=5, local_steps=1), cut=1, keep=False)
    largest = -(-data_of(4).samples.max() // 16)
    for step in range(int(largest) + 1):
        run.rounds(1)
        left = data_of(4).samples > 16 * (step % largest)
        assert run.told[-1].trained.tolist() == left.tolist()


def test_one_node_alone_trains_the_whole_model():
    """Then the form with one upper part, that of split learning, and centralized training are one."""
    fed, split = SplitRun(n=1, training=training("adam"), cut=1), SplitRun(n=1, training=training("adam"))
    torch.testing.assert_close(fed.rounds(2).numbers, split.rounds(2).numbers, rtol=0, atol=1e-14)
