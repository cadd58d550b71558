"""bf16: products in bfloat16, everything that adds up over steps in float32."""

import numpy as np
import pytest
import torch
from populations import ByRound, population_of

from dml import config, experiment
from dml.data.ood import NodeData
from dml.models.registry import build_model
from dml.results import load
from dml.training import gradients
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine
from dml.training.tensors import arranging

NODES = 3


def _population():
    return population_of(lambda: build_model("mlp", (1, 4, 4), 3), NODES, 0)


def _data():
    rng = np.random.default_rng(0)
    counts = (20, 33, 16)
    y = [rng.integers(3, size=k) for k in counts]
    return NodeData(
        x=[rng.normal(size=(k, 1, 4, 4)).astype(np.float32) for k in counts],
        y=y,
        index=[np.arange(k) for k in counts],
        label_counts=np.stack([np.bincount(labels, minlength=3) for labels in y]),
        ood_samples=np.zeros(NODES, np.int64),
    )


def _trained(engine, precision, epochs=3, **training):
    models = _population()
    start = models.X.clone()
    chosen = TrainingConfig(precision=precision, batch_size=8, **training)
    made = ByRound(engine, models, _data(), chosen)
    made.begin_round()
    losses = [made.epoch(np.arange(NODES))[0] for _ in range(epochs)]
    return models.X - start, np.array(losses)


@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_steps_are_those_of_fp32_up_to_the_rounding_of_products(engine):
    exact, exact_losses = _trained(engine, "fp32", lr=0.05)
    rounded, losses = _trained(engine, "bf16", lr=0.05)
    assert rounded.dtype == torch.float32
    error = ((rounded - exact).norm() / exact.norm()).item()
    # bfloat16 has 8 bits: a relative error of a per cent or so, and not none.
    assert 1e-4 < error < 0.05
    np.testing.assert_allclose(losses, exact_losses, rtol=0.02)


def test_losses_and_gradients_of_a_batched_step_are_in_the_models_own_type():
    models, random = _population(), torch.Generator().manual_seed(0)
    x, y = torch.rand(NODES, 8, 1, 4, 4, generator=random), torch.arange(8).remainder(3).expand(NODES, 8)
    with torch.autocast("cpu", torch.bfloat16):
        step = gradients.of(models.modules[0], models.tensors)(models.X, x, y, torch.full((NODES, 8), 1 / 8))
    assert (step.losses.dtype, step.gradient.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_steps_that_bfloat16_could_not_hold_add_up(engine):
    """Parameters of size 0.2 change by 1e-7 a step, a ten-thousandth of what bfloat16 tells apart."""
    exact, _ = _trained(engine, "fp32", lr=1e-6)
    rounded, _ = _trained(engine, "bf16", lr=1e-6)
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.05
    assert float(rounded.abs().max()) < 1e-4


def test_both_engines_round_alike():
    one, _ = _trained(LoopEngine, "bf16", lr=0.05)
    all_, _ = _trained(BatchedEngine, "bf16", lr=0.05)
    assert ((one - all_).norm() / one.norm()).item() < 0.02


def test_the_file_says_so_and_the_id_too(small):
    files = [experiment.run(small(precision=precision)) for precision in ("fp32", "bf16")]
    first, second = map(load, files)
    assert [r.config["precision"] for r in (first, second)] == ["fp32", "bf16"]
    assert first.attributes["experiment_id"] != second.attributes["experiment_id"]
    assert not np.array_equal(first.arrays["metrics/test_loss"], second.arrays["metrics/test_loss"])
    assert files[0] == experiment.run(small())  # fp32 is what was there before


def test_bf16_resumes_bit_for_bit(small, tmp_path):
    whole = experiment.run(small(precision="bf16", rounds=4, out_dir=tmp_path / "a"))
    experiment.run(small(precision="bf16", rounds=2, out_dir=tmp_path / "b"))
    resumed = experiment.run(small(precision="bf16", rounds=4, out_dir=tmp_path / "b"))
    name = "metrics/test_loss"
    assert np.array_equal(load(whole).arrays[name], load(resumed).arrays[name])


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8)])
def test_convolutions_take_channels_last_and_answer_the_same(shape):
    torch.manual_seed(0)
    model, cpu = build_model("cnn", shape, 5), torch.device("cpu")
    x = torch.randn(6, *shape)
    arranged = arranging(model, "bf16", cpu)(x)
    assert torch.equal(arranged, x)
    assert torch.empty_like(arranged[:4]).stride() == (arranged[0].numel(), 1, 8 * shape[0], shape[0])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(model(arranged), model(x), rtol=0, atol=0.02)
    # What comes out of the first layer lies so too.
    assert model[0](arranged).is_contiguous(memory_format=torch.channels_last)
    # fp32 keeps its bits, and a model without convolutions has no channels.
    assert arranging(model, "fp32", cpu)(x) is x
    assert arranging(build_model("mlp", shape, 5), "bf16", cpu)(x) is x


@pytest.mark.slow
def test_accuracies_are_within_the_noise_of_fp32(tmp_path):
    """Digits, 3 seeds: the mean difference is below the deviation over seeds."""
    final = {
        precision: [
            load(
                experiment.run(
                    config.make({"precision": precision, "seed": seed, "rounds": 30, "out_dir": tmp_path})
                )
            ).attributes["final_test"]
            for seed in range(3)
        ]
        for precision in ("fp32", "bf16")
    }
    print(final)
    difference = np.mean(final["bf16"]) - np.mean(final["fp32"])
    assert abs(difference) < max(0.01, np.std(final["fp32"], ddof=1))
