"""Centralized training against a plain loop of torch, which takes the same steps."""

from functools import partial

import numpy as np
import pytest
import torch
from virtual_batches import Run, data_of, plain, plain_batches

from dml.training.config import TrainingConfig

TRAININGS = {
    "sgd": ({"lr": 0.1}, partial(torch.optim.SGD, lr=0.1)),
    "momentum": ({"lr": 0.1, "momentum": 0.9}, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "adam": ({"lr": 0.01, "optimizer": "adam"}, partial(torch.optim.Adam, lr=0.01)),
    "adadelta": ({"lr": 1.0, "optimizer": "adadelta"}, torch.optim.Adadelta),
}


def training(name="momentum", **more):
    return TrainingConfig(**{"batch_size": 16, "epochs": 1, **TRAININGS[name][0], **more})


@pytest.mark.parametrize("name", TRAININGS)
def test_it_is_a_plain_loop_over_the_union(name):
    run = Run(training=training(name)).rounds(3)
    expected = plain(TRAININGS[name][1], plain_batches(97, 16, 3))
    torch.testing.assert_close(run.parameters, expected.parameters, rtol=0, atol=1e-12)
    run.population.check_views()


def test_losses_and_accuracies_are_those_of_each_nodes_own_samples():
    run, data = Run(n=4).rounds(2), data_of(4)
    expected = plain(TRAININGS["sgd"][1], plain_batches(97, 16, 2))
    told = run.told[-1]
    for node, own in enumerate(data.index):
        assert told.loss[node] == pytest.approx(float(expected.losses[own].mean()), rel=1e-6)
        assert told.accuracy[node] == pytest.approx(float(expected.hits[own].mean()), rel=1e-6)
    assert told.trained.all()
    assert told.updates == 4


def test_it_does_not_depend_on_how_the_samples_are_dealt_out():
    runs = [Run(n=n).rounds(2) for n in (1, 4, 23, 97)]
    assert all(torch.equal(run.parameters, runs[0].parameters) for run in runs)


def test_a_fixed_order_is_that_of_the_first_pass_again_and_again():
    run = Run(batch_order="fixed").rounds(3)
    expected = plain(TRAININGS["sgd"][1], plain_batches(97, 16, 3, fixed=True))
    torch.testing.assert_close(run.parameters, expected.parameters, rtol=0, atol=1e-12)
    assert not torch.equal(run.parameters, Run().rounds(3).parameters)


def test_a_round_may_be_some_epochs_or_some_batches_which_go_on_where_the_last_ended():
    epochs = Run(training=training(epochs=3)).rounds(2)
    # A pass is 7 batches.
    batches = Run(training=training(local_steps=6)).rounds(7)
    assert torch.equal(epochs.parameters, batches.parameters)
    assert [(told.epoch, told.updates) for told in epochs.told] == [(0, 0), (1, 0), (2, 4)] * 2
    assert [(told.epoch, told.updates) for told in batches.told] == [(0, 4)] * 7
    seen = Run(training=training(local_steps=1)).rounds(1).told[0]
    owners = np.searchsorted(np.cumsum(data_of(4).samples), next(plain_batches(97, 16, 1)), side="right")
    assert seen.trained.tolist() == [node in owners for node in range(4)]
    assert np.isnan(seen.loss[~seen.trained]).all()


def test_an_optimiser_that_is_not_kept_starts_again_in_every_round_and_not_in_every_pass():
    fresh = Run(training=training(epochs=2), keep=False).rounds(2)
    kept = Run(training=training(epochs=2)).rounds(2)
    batches = plain_batches(97, 16, 4)
    first = plain(TRAININGS["momentum"][1], (next(batches) for _ in range(14)))
    second = TRAININGS["momentum"][1](first.module.parameters())
    data = data_of(4)
    x, y = torch.from_numpy(np.concatenate(data.x)).double(), torch.from_numpy(np.concatenate(data.y))
    for batch in batches:
        second.zero_grad()
        torch.nn.functional.cross_entropy(first.module(x[batch]), y[batch]).backward()
        second.step()
    torch.testing.assert_close(fresh.parameters, first.parameters, rtol=0, atol=1e-12)
    assert not torch.equal(fresh.parameters, kept.parameters)


@pytest.mark.parametrize("keep", [True, False])
def test_it_goes_on_from_its_state_bit_for_bit(keep):
    made = partial(Run, training=training("adam", local_steps=5), keep=keep)
    whole, first, second = made().rounds(6), made().rounds(2), made()
    second.population.X.copy_(first.population.X)
    second.engine.load_state({k: v.copy() for k, v in first.engine.state().items()})
    second.execution.load_state(first.execution.state())
    second.done = 2
    assert torch.equal(second.rounds(4).parameters, whole.parameters)
    for name, wrong in (("taken", np.array(7)), ("passes", np.array(-1)), ("taken", np.array([1]))):
        with pytest.raises(ValueError, match=name if wrong.ndim or wrong < 0 else "than it has"):
            made().execution.load_state({**first.execution.state(), name: wrong})
