"""Rows of the table: one model on virtual batches, over bare PyTorch and over centralized training."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from nodes import data_of, population_of, sgd
from sklearn.datasets import load_digits
from timing import Row, interleaved, median, ratio
from torch import Tensor, nn
from torch.nn import functional

from dml.clock.config import ClockConfig
from dml.data.ood import NodeData
from dml.execution.batches import Batches
from dml.execution.execution import drive
from dml.models.registry import build_model
from dml.topology import make
from dml.training.config import TrainingConfig
from dml.training.learning_rate import constant
from dml.traversal.account import Account, phases_of, three_phases_of
from dml.traversal.engine import UnionEngine, Way
from dml.traversal.plan import EpochPlan, epoch_plan
from dml.traversal.routes import Route

WAYS = {
    "traversal grads": (Way(), 1.3),
    "traversal cut=1": (Way(1), 1.6),
    "traversal grads apart": (Way(apart=True), 2.5),
    "traversal cut=1 apart": (Way(1, apart=True), 2.5),
    "traversal legacy3 apart": (Way(apart=True, three_phases=True), 2.5),
}
"""By name: how gradients come about, and the most time over that of centralized training. ``legacy3`` is
measured on models of three linear layers or more."""

LR = 0.05


def rows(quick: bool) -> Iterator[Row]:
    """The rows of this part."""
    torch.set_num_threads(1)
    digits = load_digits()
    x = (digits.data[:1437] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    for title, name in (("digits MLP", "mlp"), ("digits deep_linear", "deep_linear")):
        yield from _model(title, name, x, digits.target[:1437], 16, 3 if quick else 15, quick)
    if not quick:
        rng = np.random.default_rng(0)
        images, labels = rng.random((1280, 1, 28, 28), np.float32), rng.integers(0, 10, 1280)
        yield from _model("MNIST MLP", "mnist_mlp", images, labels, 64, 5, quick)


def _dealt_out(x: np.ndarray, y: np.ndarray, n: int) -> NodeData:
    parts = np.array_split(np.random.default_rng(0).permutation(len(y)), n)
    return data_of([x[p] for p in parts], [y[p] for p in parts], 10)


def _model(
    title: str, name: str, x: np.ndarray, y: np.ndarray, batch: int, repeats: int, quick: bool
) -> Iterable[Row]:
    def build() -> nn.Module:
        return build_model(name, x.shape[1:], 10, {})

    training = sgd(LR, batch)
    ways = {case: way for case, way in WAYS.items() if name != "mlp" or not way[0].three_phases}
    for n in (3,) if quick else (3, 33):
        data = _dealt_out(x, y, n)
        cases: dict[str, Callable[[], object]] = {}
        if n == 3:
            for fused in (False, True):
                cases["bare fused" if fused else "bare"] = _bare(build, data, batch, fused)
        cases["centralized"] = _epoch(build, data, training, None)
        cases |= {case: _epoch(build, data, training, way) for case, (way, _) in ways.items()}
        seconds = interleaved(cases, repeats, time.process_time)
        steps = -(-len(y) // batch)
        if n == 3:
            best = min(("bare", "bare fused"), key=lambda case: median(seconds[case]))
            note = f"a step: {_each(seconds, 'centralized', steps)}; bare: {_each(seconds, best, steps)}"
            measured = ratio(seconds["centralized"], seconds[best])
            yield Row(f"centralized {title}, over bare PyTorch", measured, "x", 1.05, note)
        for case, (_, goal) in ways.items():
            measured = ratio(seconds[case], seconds["centralized"])
            asked = None if n > 3 and "apart" in case else goal
            yield Row(f"{case}, {title}, n={n}", measured, "x", asked)


def _each(seconds: dict[str, list[float]], case: str, steps: int) -> str:
    return f"{1e6 * median(seconds[case]) / steps:.0f} us"


def _epoch(
    build: Callable[[], nn.Module], data: NodeData, training: TrainingConfig, way: Way | None
) -> Callable[[], object]:
    """A function that trains the model for a pass as an experiment does, and counts what visits cost."""
    population, topology = population_of(build, 1), make(f"cycle:n={len(data.y)}", 0)
    engine = UnionEngine(population, data, training, seed=0, way=way or Way())
    account = None
    if way is not None:
        sample = torch.from_numpy(data.x[0][:1])
        module = population.modules[0]
        phases = phases_of(module, way.cut, False, sample, 1, training.model)
        if way.three_phases:
            phases = three_phases_of(module, training.model)
        account = Account(Route(topology, 0), phases, 0, ClockConfig(), 0)
    training = training.model_copy(update={"epochs": 1})
    plans = partial(epoch_plan, data.samples, training.batch_size, 0)
    execution = Batches(plans, topology.n, topology.m, training, constant(training.lr), account)
    numbers = itertools.count()
    return lambda: drive(execution.advance(next(numbers), lambda told: False), engine.train)


def _plans(data: NodeData, batch: int) -> Iterator[EpochPlan]:
    plan = partial(epoch_plan, data.samples, batch, 0)
    return (plan(number) for number in range(1 << 30))


def _bare(build: Callable[[], nn.Module], data: NodeData, batch: int, fused: bool) -> Callable[[], None]:
    """The same steps by torch alone, without losses and accuracies of the training."""
    torch.manual_seed(0)
    model = build().train()
    x, y = torch.from_numpy(np.concatenate(data.x)), torch.from_numpy(np.concatenate(data.y))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, fused=fused)
    plans = _plans(data, batch)

    def step(xb: Tensor, yb: Tensor) -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(xb), yb).backward()
        optimizer.step()

    def epoch() -> None:
        plan = next(plans)
        order = torch.from_numpy(plan.samples)
        for xb, yb in zip(torch.split(x[order], batch), torch.split(y[order], batch), strict=True):
            step(xb, yb)

    return epoch
