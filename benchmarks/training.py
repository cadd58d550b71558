"""Local training by both engines, and evaluation, over bare PyTorch on the same models and data."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from nodes import data_of, epoch_of, population_of, sgd
from timing import Row, interleaved, median, ratio
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from dml import config
from dml.data.load import load_dataset
from dml.data.ood import TestSets
from dml.models.registry import build_model
from dml.population import Population
from dml.training.evaluate import Evaluator

LABELS = 10

# The forms of torch.optim.SGD; on a CPU its default is a loop over the tensors.
SGD_FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


class Case:
    """Nodes with a model and data each: rows of a population for our engines, modules for the bare loops.

    Args:
        model: the model's name.
        shape: of an input.
        nodes: how many.
        samples: per node.
        batch: samples per step.
        data: inputs and labels from which the samples are taken; by default they are random.
        precision: fp32 or bf16.
    """

    def __init__(
        self,
        model: str,
        shape: tuple[int, ...],
        nodes: int,
        samples: int,
        batch: int,
        data: tuple[np.ndarray, np.ndarray] | None = None,
        precision: str = "fp32",
    ) -> None:
        self._shape, self._model, self.nodes, self._batch = shape, model, nodes, batch
        rng = np.random.default_rng(0)
        if data is None:
            x = rng.random((nodes * samples, *shape), dtype=np.float32)
            y = rng.integers(LABELS, size=nodes * samples)
        else:
            x, y = (array[: nodes * samples] for array in data)
        self._x, self._y = np.split(x, nodes), np.split(y, nodes)
        self._training, self.precision = sgd(0.01, batch, precision), precision

    def _new(self) -> nn.Module:
        return build_model(self._model, self._shape, LABELS)

    def population(self) -> Population:
        """The nodes' models in a matrix."""
        return population_of(self._new, self.nodes)

    def ours(self, engine: str = "loop") -> Callable[[], object]:
        """One epoch of all nodes by an engine."""
        return epoch_of(engine, self.population(), data_of(self._x, self._y, LABELS), self._training)

    def bare(self, **form: Any) -> Callable[[], object]:
        """The same optimiser steps in a plain loop, which keeps no losses and no accuracies."""
        models = [self._new().train() for _ in range(self.nodes)]
        optimizers = [torch.optim.SGD(m.parameters(), lr=self._training.lr, **form) for m in models]
        xs, ys = [torch.from_numpy(x) for x in self._x], [torch.from_numpy(y) for y in self._y]

        def epoch() -> None:
            for model, optimizer, x, y in zip(models, optimizers, xs, ys, strict=True):
                for batch in torch.randperm(len(y)).split(self._batch):
                    optimizer.zero_grad(set_to_none=True)
                    with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                        loss = functional.cross_entropy(model(x[batch]), y[batch])
                    loss.backward()
                    optimizer.step()

        return epoch

    def vmapped(self) -> Callable[[], object]:
        """The same steps of all models at once by ``torch.func.vmap``; all nodes have as many samples."""
        model = self._new().train()
        parameters, _ = stack_module_state([self._new() for _ in range(self.nodes)])
        tensors = {name: tensor.detach() for name, tensor in parameters.items()}
        x, y = torch.from_numpy(np.stack(self._x)), torch.from_numpy(np.stack(self._y))
        rows = torch.arange(self.nodes)[:, None]

        def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(model, parameters, (x,)), y)

        gradients = vmap(grad(loss))

        def epoch() -> None:
            for batch in torch.rand(y.shape).argsort(1).split(self._batch, 1):
                step = gradients(tensors, x[rows, batch], y[rows, batch])
                for name, tensor in tensors.items():
                    tensor.sub_(step[name], alpha=self._training.lr)

        return epoch


def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_dataset(config.make({}).data, 0)
    return data.train_x, data.train_y


def _row(what: str, case: Case, threads: int, repeats: int) -> Row:
    torch.set_num_threads(threads)
    cases = {"ours": case.ours()} | {name: case.bare(**form) for name, form in SGD_FORMS.items()}
    seconds = interleaved(cases, repeats)
    best = min(SGD_FORMS, key=lambda name: median(seconds[name]))
    forms = ", ".join(f"{name} {1e3 * median(seconds[name]):.1f}" for name in SGD_FORMS)
    note = f"an epoch: {1e3 * median(seconds['ours']):.1f} ms; bare: {forms}"
    return Row(f"train {what}", ratio(seconds["ours"], seconds[best]), "x", 1.05, note)


def _at_once(what: str, case: Case, repeats: int) -> Iterator[Row]:
    torch.set_num_threads(1)
    cases = {"batched": case.ours("batched"), "vmap": case.vmapped(), "loop": case.ours()}
    seconds = interleaved(cases, repeats)
    note = "an epoch: " + ", ".join(f"{name} {1e3 * median(s):.1f} ms" for name, s in seconds.items())
    yield Row(f"batched {what}, over vmap", ratio(seconds["batched"], seconds["vmap"]), "x", 1.1, note)
    yield Row(f"batched {what}, over loop", ratio(seconds["batched"], seconds["loop"]), "x", 0.33)


def _per_node(few: Case, many: Case, repeats: int) -> Row:
    """The time of an epoch per node among many nodes, over that among few."""
    torch.set_num_threads(1)
    seconds = interleaved({"few": few.ours("batched"), "many": many.ours("batched")}, repeats)
    share = few.nodes / many.nodes
    one, other = (1e6 * median(seconds[k]) / case.nodes for k, case in (("few", few), ("many", many)))
    note = f"{one:.0f} us per node of {few.nodes}, {other:.0f} us per node of {many.nodes:,}"
    measured = ratio(seconds["many"], seconds["few"]) * share
    return Row(f"batched digits MLP, per node of {many.nodes:,}", measured, "x", 1.3, note)


def _bf16(cores: int, fp32: Case, bf16: Case, repeats: int) -> Iterator[Row]:
    torch.set_num_threads(cores)
    cases = {"ours": bf16.ours(), "bare": bf16.bare(fused=True), "fp32": fp32.bare()}
    seconds = interleaved(cases, repeats)
    note = "an epoch: " + ", ".join(f"{name} {1e3 * median(s):.1f} ms" for name, s in seconds.items())
    what = f"MNIST MLP, bf16, {cores} threads"
    yield Row(f"train {what}", ratio(seconds["ours"], seconds["bare"]), "x", 1.05, note)
    yield Row(f"train {what}, over fp32 default", ratio(seconds["ours"], seconds["fp32"]), "x", 0.5)


def _arithmetic(cores: int, precision: str, quick: bool) -> Row:
    """An epoch and an evaluation, over the time of their products at the speed of one large product."""
    torch.set_num_threads(cores)
    nodes, samples, tests, side = (3, 64, 1_100, 512) if quick else (3, 1818, 11_000, 2048)
    repeats = 1 if quick else 3
    case = Case("mnist_mlp", (1, 28, 28), nodes, samples, 64, precision=precision)
    x = np.random.default_rng(0).random((tests, 1, 28, 28), dtype=np.float32)
    labels = np.arange(tests) % LABELS
    sets = TestSets(x[:-1000], labels[:-1000], x[-1000:], labels[-1000:], labels[-1000:])
    epoch, models = case.ours(), case.population()
    measure = Evaluator(models, sets, LABELS, precision=precision)
    square = torch.rand(side, side, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    cases = {"ours": lambda: (epoch(), measure()), "product": lambda: square @ square}
    seconds = interleaved(cases, repeats)
    weights = sum(shape.numel() for _, shape in models.tensors if len(shape) == 2)
    # The mean model is evaluated, too.
    products = weights * (nodes * 3 * samples + (nodes + 1) * tests)
    least = [s * products / side**3 for s in seconds["product"]]
    product = f"{1e3 * median(seconds['product']):.0f} ms"
    note = f"{median(seconds['ours']):.2f} s; a product of {side} x {side}: {product}"
    return Row(
        f"epoch + evaluation, {precision}, over arithmetic", ratio(seconds["ours"], least), "x", 1.5, note
    )


def rows(cores: int, quick: bool) -> Iterator[Row]:
    """Training, then evaluation."""
    digits = Case("mlp", (1, 8, 8), nodes=33, samples=43, batch=16, data=_digits())
    images = 64 if quick else 448
    mnist = Case("mnist_mlp", (1, 28, 28), nodes=3, samples=images, batch=64)
    yield _row("digits MLP, 33 nodes, 1 thread", digits, 1, 5 if quick else 61)
    yield from _at_once("digits MLP, 33 nodes", digits, 5 if quick else 61)
    some = Case("mlp", (1, 8, 8), nodes=33, samples=43, batch=16)
    crowd = Case("mlp", (1, 8, 8), nodes=500 if quick else 4096, samples=43, batch=16)
    yield _per_node(some, crowd, 2 if quick else 9)
    yield _row("MNIST MLP, 3 nodes, 1 thread", mnist, 1, 2 if quick else 9)
    yield _row(f"MNIST MLP, 3 nodes, {cores} threads", mnist, cores, 2 if quick else 9)
    bf16 = Case("mnist_mlp", (1, 28, 28), nodes=3, samples=images, batch=64, precision="bf16")
    yield from _bf16(cores, mnist, bf16, 2 if quick else 9)
    for precision in ("fp32", "bf16"):
        yield _arithmetic(cores, precision, quick)
    inputs = {"digits": _digits()[0][:360], "mnist": np.random.default_rng(0).random((1000, 1, 28, 28))}
    for what, case, x, repeats in (
        ("digits MLP, 33 nodes x 360 images", digits, inputs["digits"], 61),
        ("MNIST MLP, 3 nodes x 1,000 images", mnist, inputs["mnist"].astype(np.float32), 15),
    ):
        torch.set_num_threads(1)
        for batched in (False, True) if case is digits else (False,):
            yield _evaluation(what, case.population(), x, 3 if quick else repeats, batched)


def _evaluation(what: str, population: Population, x: np.ndarray, repeats: int, batched: bool) -> Row:
    half, y = len(x) // 2, np.arange(len(x)) % LABELS
    sets = TestSets(x[:half], y[:half], x[half:], np.zeros(len(x) - half, np.int64), y[half:])
    images = torch.from_numpy(x)

    @torch.inference_mode()
    def plain() -> list[Tensor]:
        # One more pass stands for that of the mean model.
        return [module.eval()(images) for module in [*population.modules, population.modules[0]]]

    seconds = interleaved(
        {"ours": Evaluator(population, sets, LABELS, batched=batched), "plain": plain}, repeats
    )
    plain_ms = 1e3 * median(seconds["plain"])
    note = f"{1e3 * median(seconds['ours']):.1f} ms; forward passes alone {plain_ms:.1f} ms"
    return Row(
        f"evaluate {what}" + (", batched" if batched else ""),
        ratio(seconds["ours"], seconds["plain"]),
        "x",
        None,
        note,
    )
