"""Models may be fewer than nodes: they walk, meet, and train on the data of the node where they stand."""

import numpy as np
import pytest
import torch
from linear_models import gradient, linear, node_data

from dml import randomness
from dml.exchange import traffic
from dml.execution.execution import Execution, Interval, LocalTraining, drive
from dml.population import Population, starts
from dml.topology import make
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine
from dml.training.orders import Passes
from dml.training.request import Request

ENGINES = pytest.mark.parametrize("kind", [LoopEngine, BatchedEngine])


class Walks(Execution):
    """Models that walk over the graph: each trains on the data of the node where it stands, and moves on."""

    def __init__(self, topology, X, seed, memory_of="row"):
        self._neighbours, self._n, self._seed = topology.neighbours(), topology.n, seed
        self._m, self._bytes, self._memory_of = topology.m, 4 * X.shape[1], memory_of
        self.at = np.zeros(len(X), np.int64)

    def advance(self, number, measure):
        here, rows = self.at.copy(), np.arange(len(self.at))
        slots = None if self._memory_of == "row" else here
        rates = np.full((len(rows), 2), 0.1)
        request = Request(rows, here, np.full(len(rows), 2), rates, begins=True, slots=slots)
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
    engine = kind(population, data, training, orders, True, None if memory_of == "row" else n)
    X = population.X.numpy().copy()
    memory = np.zeros((walks if memory_of == "row" else n, X.shape[1]))
    execution = Walks(topology, population.X, 5, memory_of)
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


@ENGINES
@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 1, 0]])
def test_a_row_can_hold_its_change_afterwards(kind, rows):
    data, steps = node_data(4), np.full(3, 3)

    def trained(changes):
        population = Population(linear, starts(4, 3), dtype=torch.float64)
        orders = Passes(data.samples, 2, True, np.full(4, 7))
        engine = kind(population, data, TrainingConfig(lr=0.1, batch_size=2), orders)
        request = Request(np.array(rows), np.array([0, 1, 3]), steps, np.full((3, 3), 0.1), changes=changes)
        before = population.X.clone()
        return before, population.X, engine.train(request)

    before, after, told = trained(False)
    _, changed, told_again = trained(True)
    left = [row for row in range(4) if row not in rows]
    torch.testing.assert_close(changed[rows], (after - before)[rows], rtol=0, atol=1e-15)
    assert torch.equal(changed[left], before[left])
    assert np.array_equal(told.loss, told_again.loss)
    assert told.answers.tolist() == [5, 6, 6]  # node 0 has five samples
