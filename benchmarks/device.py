"""How fast an accelerator runs the parts of our experiments: those rows of gpu.py that are ratios."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nodes import average_of, data_of, epoch_of, population_of, sgd
from timing import Row, interleaved, median, ratio
from torch import Tensor

from dml import accelerators, config, experiment, topology
from dml.models.registry import build_model
from dml.population import Population
from dml.training import gradients, optimizers
from dml.training.engines import ENGINES

GRAPH = "barabasi_albert:n={n},m=2,seed=0"
LABELS = 10
NOT = float("nan")
"""Stands for a number that cannot be measured."""


class Bench:
    """The device, and the sizes of its experiments.

    Args:
        device: the accelerator that is measured.
        quick: tiny sizes.
        folder: for data and results.
    """

    def __init__(self, device: torch.device, quick: bool, folder: Path) -> None:
        self.device, self.quick, self.folder = device, quick, folder
        self.nodes, self.repeats = (4, 2) if quick else (33, 15)
        self._fresh = iter(range(1000))

    def wait(self) -> None:
        """Waits until the device has finished."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def done(self, work: Callable[[], object]) -> Callable[[], None]:
        """The same work, and a wait for its end, so that it can be timed."""

        def whole() -> None:
            work()
            self.wait()

        return whole

    def run(self, device: torch.device | None = None, **flags: Any) -> Path:
        """Runs an experiment in a folder of its own, and returns its result file."""
        place = {
            "accelerator": str(device or self.device),
            "data_dir": self.folder / "data",
            "out_dir": self.folder / str(next(self._fresh)),
        }
        return experiment.run(config.make({"topology_file": GRAPH.format(n=self.nodes), **flags, **place}))

    def epoch(self, model: str, engine: str, precision: str = "fp32") -> Callable[[], object]:
        """One epoch of all nodes on random data; it ends when its losses have been read."""
        shape, samples, batch = {
            "mlp": ((1, 8, 8), 43, 16),
            "mnist_mlp": ((1, 28, 28), 448, 64),
            "cnn": ((3, 32, 32), 128, 64),
            "decoder": ((149,), 64, 16),
        }[model]
        samples = min(samples, 2 * batch, 8) if self.quick else samples
        rng, size = np.random.default_rng(0), (self.nodes * samples, *shape)
        tokens = len(shape) == 1
        x = rng.integers(LABELS, size=size, dtype=np.uint8) if tokens else rng.random(size, np.float32)
        y = rng.integers(LABELS, size=size if tokens else size[0])
        data = data_of(np.split(x, self.nodes), np.split(y, self.nodes), LABELS)
        return epoch_of(engine, self.population(model, shape), data, sgd(0.01, batch, precision))

    def population(self, model: str, shape: tuple[int, ...]) -> Population:
        """All nodes' models."""
        settings = {"n_layer": 1 if self.quick else 4} if model == "decoder" else {}
        build = partial(build_model, model, shape, LABELS, settings)
        return population_of(build, self.nodes, device=self.device)


def engines(bench: Bench) -> Iterator[Row]:
    """The time of the loop engine over that of the batched one, which engines.choose takes on a card."""
    for model in ("mlp", "mnist_mlp", "cnn", "decoder"):
        seconds = interleaved({name: bench.epoch(model, name) for name in ENGINES}, bench.repeats)
        note = "an epoch: " + ", ".join(f"{name} {1e3 * median(s):.1f} ms" for name, s in seconds.items())
        yield Row(f"loop over batched, {model}", ratio(seconds["loop"], seconds["batched"]), "x", None, note)


def repeatable(bench: Bench) -> Iterator[Row]:
    """The cost of deterministic algorithms, which give the same bits in every run."""
    for model in ("mlp", "mnist_mlp", "cnn", "decoder"):
        epoch = bench.epoch(model, "batched")

        def one(deterministic: bool, epoch: Callable[[], object] = epoch) -> None:
            accelerators.prepare(bench.device, deterministic)
            epoch()

        cases = {"on": partial(one, True), "off": partial(one, False)}
        seconds = interleaved(cases, bench.repeats)
        accelerators.prepare(bench.device)
        on = 1e3 * median(seconds["on"])
        yield Row(
            f"deterministic over not, {model}",
            ratio(seconds["on"], seconds["off"]) if bench.device.type != "cpu" else NOT,
            "x",
            None,
            f"an epoch of batched: {on:.1f} ms, deterministic",
        )


def precision(bench: Bench) -> Iterator[Row]:
    """The time of an epoch in bf16 over that in fp32."""
    for model, engine in (("mnist_mlp", "batched"), ("cnn", "loop"), ("decoder", "batched")):
        cases = {name: bench.epoch(model, engine, name) for name in ("fp32", "bf16")}
        seconds = interleaved(cases, bench.repeats)
        note = "an epoch: " + ", ".join(f"{name} {1e3 * median(s):.1f} ms" for name, s in seconds.items())
        yield Row(f"bf16 over fp32, {model}", ratio(seconds["bf16"], seconds["fp32"]), "x", None, note)


def mixing(bench: Bench) -> Iterator[Row]:
    """The time of X <- C X over that of copy_ of the same bytes."""
    population = bench.population("mnist_mlp", (1, 28, 28))
    other = torch.empty_like(population.X)
    for graph in (GRAPH, "complete:n={n}"):
        mix = average_of(population, topology.make(graph.format(n=bench.nodes)))
        cases = {
            "mix": bench.done(mix),
            "copy": bench.done(partial(other.copy_, population.X)),
        }
        seconds = interleaved(cases, bench.repeats)
        mix_ms, copy_ms = (1e3 * median(seconds[name]) for name in ("mix", "copy"))
        note = f"{mix_ms:.2f} ms, copy_ {copy_ms:.2f} ms; X is {population.X.nbytes / 2**20:.0f} MiB"
        yield Row(
            f"mixing over copy_, {graph.split(':')[0]}",
            ratio(seconds["mix"], seconds["copy"]),
            "x",
            None,
            note,
        )


def steps(bench: Bench) -> Iterator[Row]:
    """One batched step of the digits MLP, captured in a CUDA graph or compiled, over the step as it is.

    Training uses neither; these rows show what they would save.
    """
    population = bench.population("mlp", (1, 8, 8))
    X, module, tensors = population.X, population.modules[0], population.tensors
    x = torch.rand(bench.nodes, 16, 1, 8, 8, device=bench.device)
    y = torch.zeros(bench.nodes, 16, dtype=torch.int64, device=bench.device)
    weights = torch.full((bench.nodes, 16), 1 / 16, device=bench.device)
    gradient = gradients.of(module, tensors)
    training = sgd(1e-6, 16)
    memory = optimizers.Memory(X, bench.nodes, population.trained, training)
    optimizer = memory.of_models(range(bench.nodes), list(X.unbind(0)))

    def step(of: gradients.Gradients = gradient) -> Tensor:
        found = of(X, x, y, weights)
        optimizer.step(list(found.gradient.unbind(0)), training.lr)
        return found.losses

    forms: dict[str, Callable[[], Callable[[], object]]] = {
        "graph": lambda: _captured(bench, step),
        # Without the optimiser: torch's compiler does not know its kernel.
        "compiled": lambda: partial(step, torch.compile(gradient)),
    }
    count = 5 if bench.quick else 200

    def many(form: Callable[[], object]) -> Callable[[], None]:
        return bench.done(lambda: [form() for _ in range(count)])

    for name, make in forms.items():
        what = f"a digits step, {name} over as it is"
        try:
            seconds = interleaved({"plain": many(step), name: many(make())}, bench.repeats)
        except Exception as error:  # a compiler that is missing, an operation that cannot be captured, ...
            reason = " ".join(str(error).split())[:150]
            yield Row(what, NOT, "x", None, f"not possible here: {type(error).__name__}: {reason}")
            continue
        plain, other = (1e6 * median(seconds[k]) / count for k in ("plain", name))
        note = f"{other:.0f} us; as it is {plain:.0f} us"
        yield Row(what, ratio(seconds[name], seconds["plain"]), "x", None, note)


def _captured(bench: Bench, step: Callable[[], object]) -> Callable[[], object]:
    if bench.device.type != "cuda":
        raise NotImplementedError("CUDA graphs are for CUDA")
    # Some turns on a stream of their own come first, as torch's documentation of graphs asks.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
