"""Split learning in float64, without an experiment around it; and the same as plain loops of torch."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from virtual_batches import LABELS, SEED, Run, data_of

from dml import randomness
from dml.execution.batches import Batches
from dml.population import Population, starts
from dml.training.config import TrainingConfig
from dml.training.learning_rate import constant
from dml.traversal.engine import UnionEngine
from dml.traversal.own_batches import own_batches
from dml.traversal.side_by_side import SideBySideEngine

Make = Callable[[Any], torch.optim.Optimizer]


def norm() -> nn.Module:
    """A model with batch norm below and above the cuts 1 to 3."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9), nn.BatchNorm1d(9),
        nn.Linear(9, LABELS),
    )  # fmt: skip


@dataclass
class SplitRun(Run):
    """A run of split learning, or of SplitFed learning behind a cut.

    Args:
        cut: of SplitFed learning; None for split learning, whose cut changes no number.
    """

    cut: int | None = None

    def __post_init__(self) -> None:
        data = self.data or data_of(self.n)
        self.population = Population(self.build, starts(1, SEED), dtype=self.dtype)
        parts = self.population, data, self.training
        more = {"seed": SEED, "keep_optimizers": self.keep}
        self.engine = SideBySideEngine(*parts, self.cut, **more) if self.cut else UnionEngine(*parts, **more)
        plans = partial(
            own_batches, data.samples, self.training.batch_size, SEED, side_by_side=self.cut is not None
        )
        self.execution = Batches(plans, self.n, 0, self.training, constant(self.training.lr))
        self.told = []
        self.done = 0

    @property
    def numbers(self) -> Tensor:
        """Parameters and float buffers."""
        return self.population.X[0, : self.population.size]


def numbers_of(module: nn.Module) -> Tensor:
    """Parameters and float buffers of a model."""
    held = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
    return torch.cat([tensor.detach().flatten() for tensor in held])


def start(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(SEED, "initial model", 0))
        return build().double().train()


def batches_of(n: int, node: int, number: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """A node's batches of a pass."""
    data = data_of(n)
    order = randomness.generator(SEED, "batch order", node, number).permutation(data.samples[node])
    x, y = torch.from_numpy(data.x[node]).double(), torch.from_numpy(data.y[node])
    return [(x[own], y[own]) for own in np.split(order, range(size, len(order), size))]


def split_step(lower: nn.Module, upper: nn.Module, optimizers: tuple[Any, Any], x: Tensor, y: Tensor) -> None:
    """One batch: activations to the server, their gradient back, and a step of each part."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    sent = lower(x)
    received = sent.detach().requires_grad_()
    functional.cross_entropy(upper(received), y).backward()
    optimizers[1].step()
    sent.backward(received.grad)
    optimizers[0].step()


def plain_split(make: Make, cut: int, passes: int, *, n: int = 4, build: Any, size: int = 16) -> Tensor:
    """Split learning: ``cut`` is the number of modules below it."""
    module = start(build)
    lower, upper = module[:cut], module[cut:]
    optimizers = make(lower.parameters()), make(upper.parameters())
    for number in range(passes):
        for node in range(n):
            for x, y in batches_of(n, node, number, size):
                split_step(lower, upper, optimizers, x, y)
    return numbers_of(module)


def plain_splitfed(
    make: Make,
    cut: int,
    rounds: int,
    passes: int,
    *,
    n: int = 4,
    build: Any,
    size: int = 16,
    keep: bool = False,
) -> Tensor:
    """SplitFed learning with one upper part."""
    module = start(build)
    lowers, upper = [deepcopy(module[:cut]) for _ in range(n)], module[cut:]
    own, above = [make(lower.parameters()) for lower in lowers], make(upper.parameters())
    weights = data_of(n).samples / data_of(n).samples.sum()
    for number in range(rounds * passes):
        if number % passes == 0 and not keep:
            own, above = [make(lower.parameters()) for lower in lowers], make(upper.parameters())
        batches = [batches_of(n, node, number, size) for node in range(n)]
        steps = max(map(len, batches))
        drawn = randomness.generator(SEED, "order of clients", number).random((steps, n))
        for step in range(steps):
            for i in np.argsort(drawn[step]).tolist():
                if step < len(batches[i]):
                    split_step(lowers[i], upper, (own[i], above), *batches[i][step])
        if (number + 1) % passes == 0:
            mean = {
                name: sum(w * lower.state_dict()[name] for w, lower in zip(weights, lowers, strict=True))
                for name in lowers[0].state_dict()
            }
            for lower in (module[:cut], *lowers):
                lower.load_state_dict(mean)
    return numbers_of(module)


def training(name: str = "sgd", **more: Any) -> TrainingConfig:
    return TrainingConfig(**{"batch_size": 16, "epochs": 2, **TRAININGS[name][0], **more})


TRAININGS: dict[str, tuple[dict[str, Any], Make]] = {
    "sgd": ({"lr": 0.1}, partial(torch.optim.SGD, lr=0.1)),
    "momentum": ({"lr": 0.1, "momentum": 0.9}, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "adam": ({"lr": 0.01, "optimizer": "adam"}, partial(torch.optim.Adam, lr=0.01)),
    "adadelta": ({"lr": 1.0, "optimizer": "adadelta"}, partial(torch.optim.Adadelta, lr=1.0)),
}
