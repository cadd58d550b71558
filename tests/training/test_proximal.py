"""The proximal term, held against torch's autograd on the loss as it is written."""

import numpy as np
import pytest
import torch
from populations import ByRound, population_of
from torch import nn
from torch.nn import functional

from dml import experiment, randomness, results
from dml.data.ood import NodeData
from dml.experiment_rule import neighbours
from dml.topology import make
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine
from dml.training.proximal import Proximal

GRAPH = make("star:n=4")
SIZES = (7, 12, 4, 1)


def build():
    # A float buffer between the parameters: rows of X hold more than parameters.
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=True), nn.Tanh(), nn.Linear(5, 3)
    )


def smooth():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def node_data():
    rng = np.random.default_rng(1)
    zeros = np.zeros((len(SIZES), 3), np.int64)
    x = [rng.normal(size=(k, 1, 2, 3)).astype(np.float32) for k in SIZES]
    index = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])
    return NodeData(x, [rng.integers(3, size=k) for k in SIZES], zeros, zeros[:, 0], index)


def plain_round(starts, node, near, data, config, epochs, passes):
    """One node's round with the term in the loss."""
    model = smooth().double()
    with torch.no_grad():
        for p, value in zip(model.parameters(), starts[node], strict=True):
            p.copy_(value)
    x, y = torch.from_numpy(data.x[node]).double(), torch.from_numpy(data.y[node])
    optimizer = torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum)
    for epoch in range(epochs):
        order = randomness.generator(0, "batch order", node, passes + epoch).permutation(len(y))
        for first in range(0, len(y), config.batch_size):
            batch = order[first : first + config.batch_size]
            loss = functional.cross_entropy(model(x[batch]), y[batch])
            for j in near:
                for w, other in zip(model.parameters(), starts[j], strict=True):
                    if not torch.equal(w, other):  # torch's own gradient of the norm at 0 is 0 as well
                        loss = loss + config.prox_coeff / 2 * (w - other).pow(2).sum().sqrt()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("complete", [False, True])
def test_training_equals_autograd_of_the_loss(same, complete):
    config = TrainingConfig(batch_size=4, lr=0.1, momentum=0.5, prox_coeff=0.3)
    population = population_of(smooth, 4, 0, same=same, dtype=torch.float64)
    near = neighbours(GRAPH, complete)
    data = node_data()
    term = Proximal(population, near, config.prox_coeff)
    engine = ByRound(LoopEngine, population, data, config, proximal=term)
    for number in range(2):
        starts = [[p.detach().clone() for p in population.parameters(i)] for i in range(4)]
        engine.begin_round()
        for _ in range(2):
            engine.epoch(np.arange(4))
        for node in range(4):
            expected = plain_round(starts, node, near[node], data, config, 2, 2 * number)
            torch.testing.assert_close(population.X[node, : population.size], expected, rtol=0, atol=1e-12)


def test_who_is_near_whom():
    assert [j.tolist() for j in neighbours(GRAPH, complete=False)] == [[1, 2, 3], [0], [0], [0]]
    assert [j.tolist() for j in neighbours(GRAPH, complete=True)][2] == [0, 1, 3]


def test_the_pull_is_bounded_and_buffers_are_left_out():
    population = population_of(build, 4, 0, dtype=torch.float64)
    term = Proximal(population, neighbours(GRAPH, complete=False), 2.0)
    with torch.no_grad():
        population.X[1:] += 1000.0
    term.begin_round()
    before = population.X.clone()
    parameters = population.parameters(1)
    gradients = [torch.zeros_like(p) for p in parameters]
    term.add_gradient(1, parameters, gradients)
    for gradient in gradients:
        assert gradient.norm().item() == pytest.approx(1.0)
    assert torch.equal(population.X, before)


def test_a_strong_term_holds_the_nodes_together_and_is_counted_as_traffic(small):
    def spread(path):
        accuracy = results.load(path).arrays["metrics/test_loss"]
        return accuracy[-1].std()

    flags = {"topology_file": "complete:n=4", "aggregation_strategy": "test_agg", "rounds": 4}
    free = experiment.run(small(**flags))
    held = experiment.run(small(**flags, prox_coeff=1.0))
    assert spread(held) < spread(free)
    assert results.load(free).arrays["communication/bytes_sent"].sum() == 0
    sent = results.load(held).arrays["communication/bytes_sent"]
    assert (sent == 3 * 4 * 4810).all()
    assert results.load(free).attributes["experiment_id"] != results.load(held).attributes["experiment_id"]
