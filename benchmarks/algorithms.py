"""A round of each algorithm over one of D-PSGD, and its rule over a copy of the bytes that it must move.

Algorithms with a server are compared with the mean over all nodes, the strategy ``unweighted_fl``, instead.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from nodes import data_of, epoch_of, population_of, sgd, strategy_of
from timing import Row, interleaved, median, ratio
from torch import Tensor, nn

from dml import topology
from dml.algorithms.build import build
from dml.algorithms.federated import ServerOptions
from dml.algorithms.hscaffold import HScaffold
from dml.algorithms.registry import ALGORITHMS
from dml.algorithms.rule import Rule
from dml.data.ood import NodeData
from dml.models.registry import build_model
from dml.topology import Topology
from dml.training import engines

LABELS = 10

GOAL = 1.3
"""The longest that a round may take, in rounds of D-PSGD or ``unweighted_fl`` per vector in a message."""

COPY_GOAL = 1.15
"""The longest that a rule may take if its round misses ``GOAL``, in copies of the bytes that it must move."""

LR = 0.01

NAMES = [name for name, entry in ALGORITHMS.items() if entry.runs_alone]
"""The algorithms that need no strategy."""

MEAN = "unweighted_fl"
"""The strategy with which algorithms with a server are compared."""


@dataclass(frozen=True)
class Timed:
    """What is timed of one algorithm.

    Args:
        whole: one round: a local step of each node, and the rule.
        rule: the rule alone, on models that nobody trains.
        copy: a copy that reads and writes as many bytes as the rule must.
        must_move: the bytes that the rule must read and write.
    """

    whole: Callable[[], object]
    rule: Callable[[], object]
    copy: Callable[[], object]
    must_move: int


@dataclass(frozen=True)
class Case:
    """Nodes that train on one batch each in a round, by the engine that an experiment would choose.

    Args:
        what: its name in the table.
        model: makes one model.
        shape: of an input.
        batch: samples per node, which are one step.
        graph: a tree, so that relays send as many messages as D-PSGD.
    """

    what: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    graph: Topology

    def of(self, name: str) -> Timed:
        """What is timed of an algorithm, each part on models of its own."""
        n, everybody = self.graph.n, np.ones(self.graph.n, bool)
        population = population_of(self.model, n)
        engine = engines.choose("auto", None, None, population.size, "cpu")
        train = epoch_of(engine, population, self._data(), sgd(LR, self.batch))

        def round_of(rule: Rule, X: Tensor, train: Callable[..., object]) -> Callable[[], None]:
            number = 0

            @torch.no_grad()
            def once() -> None:
                nonlocal number
                rule.before(X, number, everybody)
                train(rule.correction())
                rule.after(X, number, LR)
                rule.traffic()
                number += 1

            return once

        X = population.X[:, : population.size]
        whole = round_of(self._rule(name, X), X, train)
        # With the same padding between the rows as the models that are trained.
        untrained = population.X.clone()[:, : population.size]
        rule = self._rule(name, untrained)
        alone = round_of(rule, untrained, lambda correction: None)
        # Until values from everywhere have come, relays fill up those that are missing, which takes longer.
        for _ in range(n):
            whole()
            alone()
        models = self._must_move(name, rule)
        source, target = torch.rand(2, models, population.size)
        return Timed(whole, alone, lambda: target.copy_(source), 2 * source.nbytes)

    def _must_move(self, name: str, rule: Rule) -> int:
        """The models that a rule must read once and write once: the nodes', and those that it remembers.

        A rule that remembers x(0) reads it in the first rounds alone. If all clients take part, those of
        ``hscaffold`` have seen one model, and their shifts stand in the place of their control variates.
        """
        if name == MEAN:
            return self.graph.n
        if isinstance(rule, HScaffold):
            return 2 * self.graph.n + 3
        unread = len(rule.memory().get("x0", ()))
        return self.graph.n + ALGORITHMS[name].memory(self.graph.n, self.graph.m, False) - unread

    def _rule(self, name: str, X: Tensor) -> Rule:
        if name == MEAN:
            return strategy_of(name, X, self.graph)
        # D2 does not run with Metropolis-Hastings weights; these cost the same.
        options = {"edge_weight": 0.3 / self.graph.degree.max()} if name == "d2" else {}
        return build(name, self.graph, X, prox_coeff=0.1, **options)

    def _data(self) -> NodeData:
        n, rng = self.graph.n, np.random.default_rng(0)
        x = list(rng.random((n, self.batch, *self.shape), dtype=np.float32))
        return data_of(x, list(rng.integers(LABELS, size=(n, self.batch))), LABELS)


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, LABELS))


def _rows(case: Case, repeats: int) -> Iterator[Row]:
    torch.set_num_threads(1)
    timed = {name: case.of(name) for name in (*NAMES, MEAN)}
    rounds = interleaved({name: one.whole for name, one in timed.items()}, repeats, time.process_time)
    # One after the other, so that both find the machine in the same state.
    alone = {
        name: interleaved({"rule": one.rule, "copy": one.copy}, repeats, time.process_time)
        for name, one in timed.items()
    }
    for name, one in timed.items():
        if name == MEAN:
            continue
        server = issubclass(ALGORITHMS[name].options, ServerOptions)
        other = MEAN if server else "dpsgd"
        ours, theirs = (1e3 * median(rounds[k]) for k in (name, other))
        rule, copy = alone[name]["rule"], alone[name]["copy"]
        copies = ratio(rule, copy)
        note = (
            f"a round {ours:.2f} ms, {other} {theirs:.2f}; the rule {1e3 * median(rule):.2f} ms, "
            f"{copies:.2f} x a copy of its {one.must_move / 1e6:.1f} MB"
        )
        # Those of both ways, where they differ.
        vectors = (ALGORITHMS[name].vectors + ALGORITHMS[name].vectors_back) / 2
        whole = ratio(rounds[name], rounds[other])
        measured, per = whole / vectors, ""
        if vectors > 1:
            per, note = f", per vector of {vectors:g}", f"{whole:.2f} x per round: {note}"
        goal = None if name == "dpsgd" else GOAL
        yield Row(f"{case.what}: {name}{per}", measured, "x", goal, note, otherwise_met=copies <= COPY_GOAL)


def rows(quick: bool) -> Iterator[Row]:
    """Every algorithm over D-PSGD or ``unweighted_fl``, per vector in a message, on two perceptrons.

    A message of ``gradient_tracking`` holds two vectors. All-reduce sends more messages than D-PSGD does on
    the graph, and one-peer averaging sends fewer; their rounds are compared as they are.
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
