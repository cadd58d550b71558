"""Executions and engines carry more than rounds: walks, stacks of experiments, and one common model."""

import numpy as np
import pytest
import torch
from torch import nn

from dml import randomness
from dml.algorithms.build import build
from dml.data.ood import NodeData
from dml.exchange import traffic
from dml.execution.execution import Execution, Interval, LocalTraining, drive, drive_together
from dml.execution.rounds import Rounds
from dml.population import Population, starts
from dml.topology import make
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.learning_rate import constant
from dml.training.loop import LoopEngine
from dml.training.orders import Passes
from dml.training.request import Request

ENGINES = pytest.mark.parametrize("kind", [LoopEngine, BatchedEngine])
INPUTS, LABELS = 4, 3


def linear():
    return nn.Linear(INPUTS, LABELS)


def node_data(n, seed=0, samples=5):
    rng = np.random.default_rng(seed)
    return NodeData(
        [rng.random((samples + i % 2, INPUTS), dtype=np.float32) for i in range(n)],
        [rng.integers(LABELS, size=samples + i % 2) for i in range(n)],
        np.zeros((n, LABELS), np.int64),
        np.zeros(n, np.int64),
        [np.arange(samples + i % 2) for i in range(n)],
    )


def gradient(x, row, X, Y):
    """Of the mean cross entropy of a linear model, whose row holds W [labels, inputs] and b."""
    W, b = row[: LABELS * INPUTS].reshape(LABELS, INPUTS), row[LABELS * INPUTS : LABELS * (INPUTS + 1)]
    logits = x @ W.T + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(Y)), Y] -= 1
    result = np.zeros_like(row)
    result[: LABELS * INPUTS] = (p.T @ x / len(Y)).ravel()
    result[LABELS * INPUTS : LABELS * (INPUTS + 1)] = p.mean(0)
    return result


class Walks(Execution):
    """Models that walk over the graph: each trains on the data of the node where it stands, and moves on."""

    def __init__(self, topology, X, seed):
        self._neighbours, self._n, self._seed = topology.neighbours(), topology.n, seed
        self._m, self._bytes = topology.m, 4 * X.shape[1]
        self.at = np.zeros(len(X), np.int64)

    def advance(self, number, measure):
        here, rows = self.at.copy(), np.arange(len(self.at))
        request = Request(rows, here, np.full(len(rows), 2), np.full((len(rows), 2), 0.1), begins=True)
        trained = yield request
        loss, accuracy = np.full((2, self._n), np.nan, np.float32)
        loss[here], accuracy[here] = trained.loss, trained.accuracy
        mask = np.isin(np.arange(self._n), here)
        measure(LocalTraining(0, loss, accuracy, mask, len(here)))
        for k, node in enumerate(here):
            first, last = self._neighbours.indptr[node : node + 2]
            draw = randomness.generator(self._seed, "walk", k, number).integers(last - first)
            self.at[k] = self._neighbours.indices[first + draw]
        sent = np.bincount(here, minlength=self._n) * self._bytes
        return Interval(
            traffic.Traffic(sent, np.zeros((self._m, 2), np.int64)), np.bincount(here, minlength=self._n)
        )

    def node_rows(self):
        return None

    def singles(self):
        return {}

    def state(self):
        return {"at": self.at.copy()}

    def load_state(self, state):
        self.at = state["at"].copy()


@ENGINES
@pytest.mark.parametrize("memory_of", ["row", "node"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_walks_are_fewer_rows_than_nodes_and_may_meet(kind, memory_of, momentum):
    """Against plain loops, where two walks that meet train one after the other on the node's next batches."""
    n, walks, rounds, lr = 6, 3, 12, 0.1
    topology, data = make("star:n=6"), node_data(6)
    population = Population(linear, starts(walks, 3), dtype=torch.float64)
    training = TrainingConfig(lr=lr, batch_size=2, momentum=momentum)
    orders = Passes(data.samples, 2, True, np.full(n, 7))
    engine = kind(population, data, training, orders, True, memory_of)
    X = population.X.numpy().copy()
    memory = np.zeros((walks if memory_of == "row" else n, X.shape[1]))
    execution = Walks(topology, population.X, 5)
    place, visits = np.zeros(n, int), np.zeros(n, int)

    def next_batch(node):
        """The next two samples, or one at the end of a pass."""
        count = int(data.samples[node])
        batches = -(-count // 2)
        number, batch = divmod(int(place[node]), batches)
        order = randomness.generator(7, "batch order", node, number).permutation(count)
        place[node] += 1
        return order[batch * 2 : batch * 2 + 2]

    met = False
    for number in range(rounds):
        here = execution.at.copy()
        met |= len(np.unique(here)) < walks
        interval = drive(execution.advance(number, lambda told: None), engine.train)
        for k, node in enumerate(here.tolist()):
            slot = k if memory_of == "row" else node
            for _ in range(2):
                which = next_batch(node)
                g = gradient(data.x[node][which].astype(float), X[k], None, data.y[node][which])
                memory[slot] = momentum * memory[slot] + g
                X[k] -= lr * memory[slot]
            visits[node] += 1
        assert np.array_equal(interval.updates, np.bincount(here, minlength=n))
        np.testing.assert_allclose(population.X.numpy(), X, rtol=0, atol=1e-12)
    assert met
    assert len(population.X) < n


@ENGINES
def test_walks_continue_from_a_saved_state(kind):
    topology, data = make("cycle:n=5"), node_data(5)
    training = TrainingConfig(lr=0.1, batch_size=2, momentum=0.5)

    def parts():
        population = Population(linear, starts(2, 3))
        orders = Passes(data.samples, 2, True, np.full(5, 7))
        return population, kind(population, data, training, orders, True), Walks(topology, population.X, 5)

    population, engine, execution = parts()
    for number in range(4):
        if number == 2:
            kept = {name: array.copy() for name, array in engine.state().items()}
            saved = population.X.clone(), kept, execution.state()
        drive(execution.advance(number, lambda told: None), engine.train)
    again, engine, execution = parts()
    again.X.copy_(saved[0])
    engine.load_state(saved[1])
    execution.load_state(saved[2])
    for number in (2, 3):
        drive(execution.advance(number, lambda told: None), engine.train)
    assert torch.equal(again.X, population.X)


def experiment(algorithm, topology, X, training, batches, seed, participation=1.0):
    rule = build(algorithm, topology, X, seed=seed)
    return Rounds(rule, X, batches, training, constant(training.lr), participation, seed)


@ENGINES
@pytest.mark.parametrize("algorithm", ["dpsgd", "quasi_global_momentum"])
def test_experiments_with_other_seeds_rates_and_graphs_train_in_one_stack(kind, algorithm):
    """Each of them gives the bits that it gives alone: keys, rates and participation are its own."""
    shapes = [("cycle:n=3", 0, 0.1, 1.0), ("star:n=5", 9, 0.02, 0.6)]
    fields = {"batch_size": 2, "momentum": 0.9, "local_steps": 2}

    def alone(spec, seed, lr, participation):
        topology, training = make(spec), TrainingConfig(lr=lr, **fields)
        n = topology.n
        population = Population(linear, starts(n, seed))
        data = node_data(n, seed)
        orders = Passes(data.samples, 2, True, np.full(n, seed))
        engine = kind(population, data, training, orders, True)
        rounds = experiment(algorithm, topology, population.X, training, orders.batches, seed, participation)
        for number in range(3):
            drive(rounds.advance(number, lambda told: None), engine.train)
        return population.X

    expected = [alone(*shape) for shape in shapes]

    topologies = [make(spec) for spec, *_ in shapes]
    sizes = [topology.n for topology in topologies]
    first = np.concatenate([[0], np.cumsum(sizes)])
    seeds = [seed for _, seed, _, _ in shapes]
    population = Population(
        linear, [start for n, seed in zip(sizes, seeds, strict=True) for start in starts(n, seed)]
    )
    parts = [node_data(n, seed) for n, seed in zip(sizes, seeds, strict=True)]
    data = NodeData(
        [x for part in parts for x in part.x],
        [y for part in parts for y in part.y],
        np.concatenate([part.label_counts for part in parts]),
        np.concatenate([part.ood_samples for part in parts]),
        [index for part in parts for index in part.index],
    )
    orders = Passes(
        data.samples,
        2,
        True,
        np.repeat(seeds, sizes),
        np.concatenate([np.arange(n) for n in sizes]),
    )
    engine = kind(population, data, TrainingConfig(lr=0.5, **fields), orders, True)
    calls = []

    def train(request):
        calls.append(len(request.rows))
        return engine.train(request)

    stacked = []
    for k, (_, seed, lr, participation) in enumerate(shapes):
        X = population.X[first[k] : first[k + 1]]
        training = TrainingConfig(lr=lr, **fields)
        batches = orders.batches[first[k] : first[k + 1]]
        stacked.append(experiment(algorithm, topologies[k], X, training, batches, seed, participation))
    places = [(int(start), int(start)) for start in first[:-1]]
    for number in range(3):
        steps = [rounds.advance(number, lambda told: None) for rounds in stacked]
        intervals = drive_together(steps, places, train)
        assert [len(interval.updates) for interval in intervals] == sizes
    # One call per round for both.
    assert calls == [3 + 3] * 3
    for k, X in enumerate(expected):
        if kind is LoopEngine:
            assert torch.equal(population.X[first[k] : first[k + 1]], X)
        else:
            torch.testing.assert_close(population.X[first[k] : first[k + 1]], X, rtol=0, atol=1e-6)


class VirtualBatches(Execution):
    """One model, whose batches are drawn over the samples of all nodes: each node computes its own part."""

    def __init__(self, engine, X, plan, lr, n, m):
        self._engine, self._X, self._plan, self._lr, self._n, self._m = engine, X, plan, lr, n, m

    def advance(self, number, measure):
        nodes, samples = self._plan(number)
        total = torch.zeros_like(self._X[0])
        for node in np.unique(nodes):
            own = self._engine.position(int(node), samples[nodes == node])[None]
            weights = torch.full(own.shape, 1 / len(samples), dtype=self._X.dtype)
            step = self._engine.gradients(np.zeros(1, np.int64), own, weights)
            total += step.gradient[0]
        self._X[0] -= self._lr * total
        return Interval(traffic.none(self._n, self._m), np.bincount(nodes, minlength=self._n))
        yield

    def node_rows(self):
        return None

    def singles(self):
        return {"model": self._X[0]}

    def state(self):
        return {}

    def load_state(self, state):
        pass


@ENGINES
def test_gradients_of_parts_of_a_batch_add_up_to_those_of_one_place(kind):
    """A plan over all nodes' samples gives the numbers of training in one place, in float64."""
    n = 4
    data = node_data(n)
    population = Population(linear, starts(1, 0), dtype=torch.float64)
    orders = Passes(data.samples, 2, True, np.full(n, 0))
    engine = kind(population, data, TrainingConfig(lr=0.5, batch_size=2, momentum=0.0), orders)
    node = np.repeat(np.arange(n), data.samples)
    sample = np.concatenate([np.arange(s) for s in data.samples])

    def plan(number):
        drawn = randomness.generator(0, "virtual batch", number).permutation(len(node))[:7]
        return node[drawn], sample[drawn]

    expected = population.X[0].numpy().copy()
    execution = VirtualBatches(engine, population.X, plan, 0.5, n, 0)
    for number in range(10):
        nodes, samples = plan(number)
        x = np.stack([data.x[i][s] for i, s in zip(nodes, samples, strict=True)]).astype(float)
        y = np.array([data.y[i][s] for i, s in zip(nodes, samples, strict=True)])
        interval = drive(execution.advance(number, lambda told: None), engine.train)
        expected -= 0.5 * gradient(x, expected, None, y)
        assert interval.updates.sum() == 7
        np.testing.assert_allclose(population.X[0].numpy(), expected, rtol=0, atol=1e-12)
