"""An execution may have one model for all nodes, each of which computes its part of a batch."""

import numpy as np
import pytest
import torch
from linear_models import gradient, linear, node_data

from dml import randomness
from dml.exchange import traffic
from dml.execution.execution import Execution, Interval, drive
from dml.population import Population, starts
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine
from dml.training.orders import Passes

ENGINES = pytest.mark.parametrize("kind", [LoopEngine, BatchedEngine])


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
