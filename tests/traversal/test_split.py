"""Split learning against a plain loop of torch, with two parts, two optimisers and an explicit cut."""

import pytest
import torch
from split_runs import TRAININGS, SplitRun, norm, plain_split, training
from virtual_batches import Run, deep

from dml.errors import InputError
from dml.traversal.cut import half, separate
from dml.traversal.cut_sizes import cut_sizes


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("modules", [2, 4])
def test_it_is_a_plain_loop_over_the_nodes_wherever_the_cut_is(name, modules):
    run = SplitRun(training=training(name), build=deep).rounds(3)
    expected = plain_split(TRAININGS[name][1], modules, passes=6, build=deep)
    torch.testing.assert_close(run.numbers, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("modules", [2, 3, 5])
def test_batch_norm_takes_the_batch_of_one_node(modules):
    run = SplitRun(training=training(), build=norm).rounds(2)
    expected = plain_split(TRAININGS["sgd"][1], modules, passes=4, build=norm)
    torch.testing.assert_close(run.numbers, expected, rtol=0, atol=1e-12)


def test_it_is_not_centralized_training():
    runs = SplitRun(training=training()).rounds(1), Run(training=training()).rounds(1)
    assert (runs[0].parameters - runs[1].parameters).abs().max() > 1e-3


def test_losses_are_those_of_each_node_in_the_last_pass():
    run = SplitRun(training=training("sgd", lr=0.0)).rounds(1)
    again = Run(training=training("sgd", lr=0.0)).rounds(1)
    for told, other in zip(run.told, again.told, strict=True):
        assert told.loss == pytest.approx(other.loss, rel=1e-6)
        assert told.accuracy == pytest.approx(other.accuracy)


def test_the_usual_cut_is_behind_half_of_the_layers():
    assert half(deep()) == 1
    assert half(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))) == 1
    assert half(torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(5)))) == 2
    one = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"mode cut=1: one has one layer$"):
        separate(one, half(one), "one")


def test_what_the_parts_of_a_model_hold_and_pass_on():
    """The layers 16-12 and 12-9 with a batch norm in between and behind, below 9-5."""
    module = norm()
    sizes = cut_sizes(module, separate(module, 3, "norm"), torch.zeros(1, 16))
    assert (sizes.lower, sizes.buffers) == (16 * 12 + 12 + 2 * 12 + 12 * 9 + 9, 2 * 12)
    assert (sizes.activations, sizes.outputs) == (9, 5)
    assert sizes.lower_work == pytest.approx((16 * 12 + 12 * 9) / (16 * 12 + 12 * 9 + 9 * 5))


def test_parts_that_share_a_parameter_cannot_be_in_two_places():
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3))
    assert [len(part) for part in separate(tied, 1, "tied")] == [2, 1]
    tied[2].weight = tied[0].weight
    with pytest.raises(InputError, match="mode cut=1: tied has parameters that are needed below and above"):
        separate(tied, 1, "tied")
