"""On a card: the CPU's numbers to rounding, the same bits each time, and a host that waits once an epoch."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from populations import population_of
from rules import average
from torch import nn

from dml import accelerators, capacity, experiment, results
from dml.data.ood import TestSets
from dml.errors import InputError
from dml.plan import make_plan
from dml.results import checkpoint
from dml.training.evaluate import Evaluator

CPU = torch.device("cpu")
MODELS = ("mlp", "mnist_mlp", "cnn", "decoder")
MANY = {"samples": (128,) * 4, "batch_size": 128}
"""So many tokens a step, of 30 a sample, that torch takes another way back through an embedding."""
NODES = np.arange(4)
RUN = {"topology_file": "barabasi_albert:n=6,m=2,seed=0", "backdoor": True, "optimizer": "adam", "lr": 0.01}


def _models(path):
    saved = checkpoint.read(checkpoint.path_of(path), results.load(path).attributes["experiment_id"])
    assert saved is not None
    return saved.X


def _close(a, b, share):
    """Equal but for a share of the largest number."""
    return np.abs(a - b).max() <= share * np.abs(b).max()


@pytest.fixture
def _waits_are_errors(nvidia) -> Iterator[None]:
    """Torch refuses what makes the host wait for the card: not all of that, but copies and readings."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            torch.ones(1, device=nvidia).item()
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_an_experiment_has_the_cpus_numbers_to_rounding(small, card, tmp_path, engine):
    paths = [
        experiment.run(small(**RUN, engine=engine, rounds=5, accelerator=str(d), out_dir=tmp_path / d.type))
        for d in (CPU, card)
    ]
    reference, other = (results.load(path) for path in paths)
    assert _close(_models(paths[1]), _models(paths[0]), 1e-3)
    for metric in ("test_acc", "ood_acc", "train_acc"):
        found, right = (np.nan_to_num(r.arrays[f"metrics/{metric}"]) for r in (other, reference))
        assert np.abs(found - right).max() <= 0.02, metric
    (segment,) = other.segments
    assert segment["accelerator"].startswith(f"{card} (")
    assert segment["deterministic"] == accelerators.REPEATS[card.type]


@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_has_the_cpus_numbers_to_rounding(trainer, card, model, engine):
    found = []
    for device in (CPU, card):
        population, made = trainer(model, engine, device, optimizer="sgd", lr=0.01)
        losses, accuracies = made.epoch(NODES)
        found.append((population.X.cpu().numpy(), losses, accuracies))
    (X, loss, accuracy), (other, other_loss, other_accuracy) = found
    assert _close(other, X, 1e-4)
    np.testing.assert_allclose(other_loss, loss, rtol=1e-4)
    assert np.abs(other_accuracy - accuracy).max() <= 0.1


@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_come_out_twice(trainer, card, model, precision, engine):
    found = []
    for _ in range(2):
        more = MANY if model == "decoder" else {}
        population, made = trainer(model, engine, card, precision=precision, **more)
        measured = [made.epoch(NODES) for _ in range(3)]
        found.append((population.X.cpu().numpy().tobytes(), np.array(measured).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_stopped_and_gone_on_with_it_ends_with_the_same_bits(small, card, tmp_path, engine):
    flags = {**RUN, "engine": engine, "accelerator": str(card)}
    whole = experiment.run(small(**flags, rounds=6, out_dir=tmp_path / "whole"))
    experiment.run(small(**flags, rounds=3))
    pieces = experiment.run(small(**flags, rounds=6))
    assert results.differences(whole, pieces) == []
    assert _models(whole).tobytes() == _models(pieces).tobytes()


@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("model", MODELS)
def test_the_host_waits_for_no_step_of_an_epoch(trainer, nvidia, model, engine, request):
    """The reading at its end is refused too; by then the models must be those of a whole epoch."""
    more = MANY if model == "decoder" else {}
    (whole, free), (stopped, guarded) = (trainer(model, engine, nvidia, **more) for _ in range(2))
    for made in (free, guarded):
        made.epoch(NODES)
    free.epoch(NODES)
    request.getfixturevalue("_waits_are_errors")
    with pytest.raises(RuntimeError, match="synchronizing"):
        guarded.epoch(NODES)
    torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(whole.X, stopped.X)


@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("model", ["mlp", "cnn", "decoder"])
def test_models_are_measured_as_on_the_cpu_and_the_host_waits_for_their_sums_alone(
    trainer, card, model, engine
):
    rng, scores = np.random.default_rng(1), []
    for device in (CPU, card):
        population, made = trainer(model, engine, device)
        shape = made._x[0].shape if engine == "batched" else made._x[0][0].shape
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(50, *shape)).astype(np.float32), rng.integers(10, size=50)
        if model == "decoder":
            x, y = (rng.integers(10, size=(50, *shape)) for _ in range(2))
            x = x.astype(np.uint8)
        sets = TestSets(x[:30], y[:30], x[30:], np.zeros_like(y[30:]), y[30:])
        evaluate = Evaluator(population, sets, 10, {}, engine == "batched")
        scores.append(evaluate())
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.inference_mode():
                hits = evaluate._block(partial(evaluate._logits, range(4)), 50)[1]
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        places = 30 * (1 if model != "decoder" else 30)
        assert (hits[:, 0].cpu().numpy() / places).astype(np.float32).tolist() == scores[-1].test_acc.tolist()
    reference, other = scores
    np.testing.assert_allclose(other.test_loss, reference.test_loss, rtol=1e-4)
    np.testing.assert_allclose(
        other.more["consensus_distance"], reference.more["consensus_distance"], rtol=1e-4
    )
    assert np.array_equal(other.support, reference.support)
    assert np.abs(other.tp - reference.tp).max() <= 2


def test_an_average_is_the_cpus_and_a_model_that_is_not_finite_reaches_its_readers_alone(card):
    C = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.25, 0, 0.25, 0.5], [0, 0, 0.5, 0.5]])
    found = []
    for device in (CPU, card):
        population = population_of(lambda: nn.Linear(300, 200), 4, seed=0, device=device)
        average(population.X, C)
        finite = population.X.cpu().numpy().copy()
        population.X[3] = torch.inf
        average(population.X, C)
        found.append((finite, population.X.isfinite().all(1).tolist()))
    assert _close(found[1][0], found[0][0], 1e-6)
    assert found[1][1] == found[0][1] == [True, True, False, False]


def test_what_the_card_cannot_hold_is_refused_before_it_is_asked_for(small, card):
    made = make_plan(small())
    made.result.parent.mkdir(parents=True)
    free = accelerators.free_memory(card)
    assert free > 0
    width = int((free / (4 * made.topology.n)) ** 0.5) + 1
    with pytest.raises(InputError, match=rf"model mlp: 4 nodes need .* GiB of memory on {card}"):
        capacity.check(lambda: nn.Linear(width, width), made, card)


def test_what_an_experiment_leaves_behind_is_free_for_the_next(card):
    before = accelerators.free_memory(card)
    tensor = torch.ones(64 << 20, device=card)
    during = accelerators.free_memory(card)
    del tensor
    assert before - during >= 4 * (64 << 20)
    assert accelerators.free_memory(card) >= during + 4 * (64 << 20)
