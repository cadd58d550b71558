"""A round of every algorithm over one of D-PSGD: a local step and the exchange, and the exchange alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from timing import Row, interleaved, median, ratio
from torch import nn

from dml import config, topology
from dml.algorithms.build import build
from dml.algorithms.registry import ALGORITHMS, Options
from dml.data.ood import NodeData
from dml.models.registry import build_model
from dml.population import Population
from dml.topology import Topology
from dml.training import engines
from dml.training.batched import BatchedEngine
from dml.training.engines import Engine
from dml.training.loop import LoopEngine

LABELS = 10

GOAL = 1.3
"""The most that a round may take over D-PSGD's, for each vector in a message."""

LR = 0.01


@dataclass(frozen=True)
class Case:
    """Nodes that train one batch each in a round, by the engine that they would get.

    Args:
        what: for the table.
        model: makes one.
        shape: of an input.
        batch: samples a node, which are one step.
        graph: of the algorithms; a tree, so that relays send as many messages as D-PSGD.
    """

    what: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    graph: Topology

    def rounds(self, name: str) -> tuple[Callable[[], object], Callable[[], object]]:
        """A round of an algorithm, and its exchange alone, each on models of its own."""
        population = Population(self.model, self.graph.n, seed=0)
        engine, nodes = self._engine(population), np.arange(self.graph.n)
        # D2 may not run with Metropolis-Hastings weights; these cost the same.
        options = Options(edge_weight=0.3 / self.graph.degree.max() if name == "d2" else None)
        X = population.X[:, : population.size]
        rule, step = build(name, self.graph, X, options), 0

        def whole() -> None:
            nonlocal step
            rule.before(X, step)
            engine.begin_round()
            engine.epoch(nodes)
            rule.after(X, step, LR)
            step += 1

        still, count = build(name, self.graph, X, options), 0

        def exchange() -> None:
            nonlocal count
            still.before(X, count)
            still.after(X, count, LR)
            count += 1

        # As long as values are still on their way, relays fill up what has not come.
        for _ in range(self.graph.n):
            exchange()
            rule.before(X, step)
            rule.after(X, step, LR)
            step += 1
        return whole, exchange

    def _engine(self, population: Population) -> Engine:
        n, rng = self.graph.n, np.random.default_rng(0)
        x = list(rng.random((n, self.batch, *self.shape), dtype=np.float32))
        y = list(rng.integers(LABELS, size=(n, self.batch)))
        counts = np.zeros((n, LABELS), np.int64)
        data = NodeData(x, y, counts, counts[:, 0], [np.arange(self.batch)] * n)
        training = config.make({"optimizer": "sgd", "lr": LR, "batch_size": self.batch}).training
        chosen = engines.choose("auto", None, None, population.size, "cpu")
        engine = BatchedEngine if chosen == "batched" else LoopEngine
        return engine(population, data, training, shuffle=True, seed=0)


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, LABELS))


def _rows(case: Case, repeats: int) -> Iterator[Row]:
    torch.set_num_threads(1)
    whole, alone = zip(*(case.rounds(name) for name in ALGORITHMS), strict=True)
    rounds = interleaved(dict(zip(ALGORITHMS, whole, strict=True)), repeats)
    exchanges = interleaved(dict(zip(ALGORITHMS, alone, strict=True)), repeats)
    for name, entry in ALGORITHMS.items():
        if name == "dpsgd":
            continue
        ours, theirs = (1e3 * median(rounds[k]) for k in (name, "dpsgd"))
        mine, plain = (1e3 * median(exchanges[k]) for k in (name, "dpsgd"))
        note = f"a round {ours:.2f} ms, dpsgd {theirs:.2f}; exchange alone {mine:.2f}, dpsgd {plain:.2f}"
        measured = ratio(rounds[name], rounds["dpsgd"]) / entry.vectors
        per = f", a vector of {entry.vectors}" if entry.vectors > 1 else ""
        yield Row(f"{case.what}: {name}{per}", measured, "x", GOAL, note)


def rows(cores: int, quick: bool) -> Iterator[Row]:
    """Every algorithm over D-PSGD, per vector that a message holds, on a small and on a large perceptron.

    A message of ``gradient_tracking`` holds two. All-reduce and one-peer averaging send more, and fewer,
    messages than D-PSGD on the graph; their rounds are compared as they are.
    """
    small = Case(
        "digits MLP, 33",
        lambda: build_model("mlp", (1, 8, 8), LABELS),
        (1, 8, 8),
        16,
        topology.make("chain:n=33"),
    )
    large = Case("784-512-10, 16", _perceptron, (1, 28, 28), 32, topology.make("chain:n=16"))
    yield from _rows(small, 20 if quick else 301)
    yield from _rows(large, 2 if quick else 15)
