"""Asynchronous algorithms on linear models in float64, without an experiment around them."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from linear_models import linear, node_data

from dml.algorithms.asynchronous import EventSetup
from dml.algorithms.outages import Outages
from dml.algorithms.registry import ALGORITHMS
from dml.clock.compute import ComputeTimes
from dml.clock.laws import parse
from dml.clock.transfers import Transfers
from dml.execution.events import Events
from dml.execution.execution import drive
from dml.population import Population, starts
from dml.simulation.simulation import Simulation
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.learning_rate import constant
from dml.training.orders import Passes

SEED, BATCH = 7, 2


@dataclass
class Run:
    """One run of an algorithm by its name.

    Args:
        name: of the algorithm.
        topology: the graph.
        options: of the algorithm.
        engine: the class of the engine.
        training: how nodes train.
        compute: the law of compute times.
        factors: of each node, [n].
        latency: of messages in seconds.
        waits: whether updates wait for one another at a node.
        drop: the probability that a message is lost.
        build: makes a model.
        data: of the nodes.
        train: whether updates train.
        per_round: updates in a round; by default n.
    """

    name: str
    topology: Any
    options: dict[str, Any] = field(default_factory=dict)
    engine: Any = BatchedEngine
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(lr=0.1, batch_size=BATCH))
    compute: str = "exponential:1"
    factors: Any = None
    latency: float = 0.0
    waits: bool = True
    drop: float = 0.0
    build: Any = linear
    data: Any = None
    train: bool = True
    per_round: int | None = None
    steps: int = 2
    failing: Any = ()
    away: Any = ()
    seed: int = SEED

    def __post_init__(self):
        n = self.topology.n
        entry = ALGORITHMS[self.name]
        options = entry.options(**self.options)
        entry.admits(self.topology, options, self.seed)
        kinds = entry.rows(n, options)
        self.data = self.data or node_data(n)
        keys = starts(kinds.total, self.seed, same=True)
        self.population = Population(self.build, keys, dtype=torch.float64)
        X, size = self.population.X, self.population.size
        self.factors = np.ones(n) if self.factors is None else np.asarray(self.factors, float)
        self.simulation = Simulation(
            self.topology,
            X,
            kinds.slots,
            ComputeTimes(parse(self.compute), self.factors, self.seed),
            Transfers(n, self.latency, None, False),
            steps=self.steps,
            seed=self.seed,
            drop=self.drop,
            waits=self.waits,
            numbers=size,
        )
        names = [name for name, _ in self.population.modules[0].named_parameters()]
        tensors, remembered = self.population.tensors, self.training.remembered
        setup = EventSetup(self.simulation, options, self.seed, size, tensors, names, remembered)
        self.rule = entry.start(setup)
        rate = constant(self.training.lr * options.lr_factor(1.0))
        end = options.model_copy(
            update={"round_ends_after": self.per_round and f"updates:{self.per_round}"}
        ).end(n)
        nodes = range(kinds.nodes) if kinds.nodes else None
        outages = Outages(n, self.failing, self.away)
        walks = range(kinds.nodes, kinds.nodes + kinds.walks)
        self.events = Events(
            self.rule, self.simulation, rate, end, nodes, walks or None, outages, train=self.train
        )
        orders = Passes(self.data.samples, self.training.batch_size, True, np.full(n, self.seed))
        slots, keep = max(n, kinds.slots), self.rule.keeps_optimizers
        self.trainer = self.engine(self.population, self.data, self.training, orders, keep, slots)
        self.walks = slice(kinds.nodes, kinds.nodes + kinds.walks)
        self.round = 0

    @property
    def X(self):  # noqa: N802
        return self.population.X

    def rounds(self, count):
        """Runs some rounds; what happened in each."""
        found = []
        for _ in range(count):
            found.append(drive(self.events.advance(self.round, lambda told: True), self.trainer.train))
            self.round += 1
        return found

    def state(self):
        """All that a checkpoint holds."""
        return SimpleNamespace(
            X=self.X.clone(),
            engine={name: np.array(array) for name, array in self.trainer.state().items()},
            events={name: np.array(array) for name, array in self.events.state().items()},
            round=self.round,
        )

    def load(self, state):
        """Continues from it."""
        self.X.copy_(state.X)
        self.trainer.load_state(state.engine)
        self.events.load_state(state.events)
        self.round = state.round
        return self
