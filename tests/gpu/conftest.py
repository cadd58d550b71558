"""What tests on a card share; without one they are skipped, and say so."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from populations import ByRound, population_of

from dml import accelerators, config
from dml.data.ood import NodeData
from dml.models.registry import build_model
from dml.population import Population
from dml.training.batched import BatchedEngine
from dml.training.loop import LoopEngine

LABELS = 10
SHAPES = {"mlp": (1, 8, 8), "mnist_mlp": (1, 28, 28), "cnn": (3, 32, 32), "decoder": (30,)}
ENGINES = {"loop": LoopEngine, "batched": BatchedEngine}


@pytest.fixture(scope="session")
def card() -> torch.device:
    """The first card here, set up as for an experiment."""
    device = accelerators.choose("auto")
    if device.type == "cpu":
        pytest.skip("no accelerator here (neither torch.cuda nor torch.xpu finds one)")
    accelerators.prepare(device)
    return device


@pytest.fixture
def nvidia(card: torch.device) -> torch.device:
    """The card, where torch can tell each wait of the host."""
    if card.type != "cuda":
        pytest.skip("only torch.cuda refuses waits (set_sync_debug_mode)")
    return card


@pytest.fixture
def trainer() -> Callable[..., tuple[Population, ByRound]]:
    """Makes four nodes of a model on a device, and the engine that trains them on made data."""

    def make(
        model: str,
        engine: str,
        device: torch.device,
        samples: tuple[int, ...] = (7, 12, 1, 9),
        **flags: object,
    ) -> tuple[Population, ByRound]:
        rng, shape = np.random.default_rng(0), SHAPES[model]
        tokens = len(shape) == 1
        x = [
            rng.integers(LABELS, size=(k, *shape)).astype(np.uint8)
            if tokens
            else rng.normal(size=(k, *shape)).astype(np.float32)
            for k in samples
        ]
        y = [rng.integers(LABELS, size=(k, *shape) if tokens else k) for k in samples]
        counts = np.zeros((len(samples), LABELS), np.int64)
        numbers = np.split(np.arange(sum(samples)), np.cumsum(samples)[:-1])
        made = config.make({"optimizer": "adamw", "batch_size": 4, "lr": 1e-3, **flags}).training
        settings = {"n_layer": 2} if model == "decoder" else {}
        population = population_of(
            lambda: build_model(model, shape, LABELS, settings), len(samples), seed=0, device=device
        )
        data = NodeData(x, y, counts, counts[:, 0], numbers)
        return population, ByRound(ENGINES[engine], population, data, made)

    return make
