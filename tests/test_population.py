"""The population: modules live in the matrix X."""

import copy

import numpy as np
import pytest
import torch
from populations import population_of
from rules import average
from torch import nn
from torch.nn import functional

from dml import population as module_under_test
from dml import randomness
from dml.population import Population, starts


def mlp():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


MLP_SIZE = 4 * 3 + 3 + 3 * 2 + 2


def with_batch_norm():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def convolution():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))


class Tied(nn.Module):
    """Reads and writes tokens with one matrix."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        return self.out(self.embedding(tokens))


@pytest.mark.parametrize("build", [mlp, with_batch_norm, convolution, Tied])
def test_every_parameter_and_float_buffer_is_a_view_into_its_nodes_row(build):
    population = population_of(build, 3, 0)
    bytes_of_x = range(population.X.data_ptr(), population.X.data_ptr() + population.X.nbytes)
    for node, module in enumerate(population.modules):
        floats = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
        values = torch.cat([t.detach().flatten() for t in floats])
        assert torch.equal(values, population.X[node, : population.size])
        assert all(t.data_ptr() in bytes_of_x for t in floats)
        with torch.no_grad():
            population.X[node] += 1
        assert torch.equal(torch.cat([t.detach().flatten() for t in floats]), values + 1)
        with torch.no_grad():
            floats[-1].fill_(node + 7)
        last = floats[-1].numel()
        assert (population.X[node, population.size - last : population.size] == node + 7).all()
    population.check_views()


def test_a_row_holds_the_model_that_torch_builds_from_the_nodes_key():
    population = population_of(mlp, 2, 9)
    for node in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(randomness.torch_seed(9, "initial model", node))
            plain = torch.cat([p.detach().flatten() for p in mlp().parameters()])
        assert torch.equal(population.X[node, :MLP_SIZE], plain)


def replace_by_copy(population):
    population.modules[1] = copy.deepcopy(population.modules[1])


def assign_one_weight(population):
    layer = population.modules[1][0]
    layer.weight = nn.Parameter(layer.weight.detach().clone())


@pytest.mark.parametrize(
    "leave",
    [
        lambda population: population.modules[1].double(),
        lambda population: population.modules[1].to(torch.bfloat16),
        lambda population: population.modules[1].to(memory_format=torch.channels_last),
        replace_by_copy,
        assign_one_weight,
    ],
    ids=["double", "bfloat16", "memory_format", "deepcopy", "assigned"],
)
def test_a_module_that_left_the_matrix_is_found_and_named(leave):
    population = population_of(convolution, 3, 0)
    population.check_views()
    leave(population)
    with pytest.raises(RuntimeError, match="row 1 has left the matrix"):
        population.check_views()


def test_a_batch_norm_buffer_that_left_the_matrix_is_found():
    population = population_of(with_batch_norm, 2, 0)
    population.modules[0][1].running_mean = torch.zeros(3)
    with pytest.raises(RuntimeError, match="row 0 has left the matrix"):
        population.check_views()


def test_rows_are_padded_with_zeros_that_stay_zeros():
    population = population_of(mlp, 4, 0)
    assert population.size == MLP_SIZE
    assert population.X.shape == (4, 32)
    for module in population.modules:
        functional.cross_entropy(module(torch.ones(1, 4)), torch.tensor([1])).backward()
        torch.optim.SGD(module.parameters(), 0.1, weight_decay=0.1).step()
    average(population.X, np.full((4, 4), 1 / 4))
    assert (population.X[:, MLP_SIZE:] == 0).all()
    assert (population.X[:, :MLP_SIZE] != 0).any()


def test_tied_weights_count_once():
    population = population_of(Tied, 3, 0)
    assert population.size == 5 * 3
    assert [p.shape for p in population.parameters(0)] == [(5, 3)]
    for module in population.modules:
        assert module.out.weight.data_ptr() == module.embedding.weight.data_ptr()
    average(population.X, np.full((3, 3), 1 / 3))
    tokens = torch.arange(5)
    assert torch.equal(population.modules[0](tokens), population.modules[2](tokens))


def frozen():
    """Low-rank adapters beside a fixed matrix."""
    model = mlp()
    model[0].weight.requires_grad_(False)
    return model


def test_frozen_parameters_are_held_once_for_all_and_are_no_part_of_a_model():
    population = population_of(frozen, 3, 0)
    assert population.size == population.trained == MLP_SIZE - 12
    assert [p.shape for p in population.parameters(1)] == [(3,), (2, 3), (2,)]
    weights = [module[0].weight for module in population.modules]
    assert {w.data_ptr() for w in weights} == {weights[0].data_ptr()}
    # The fixed matrix is that of node 0's start.
    assert torch.equal(weights[2], population_of(mlp, 1, 0).modules[0][0].weight)
    before = weights[0].clone()
    average(population.X, np.full((3, 3), 1 / 3))
    population.check_views()
    assert torch.equal(population.modules[0](torch.ones(1, 4)), population.modules[2](torch.ones(1, 4)))
    assert torch.equal(weights[1], before)


def test_rows_may_be_fewer_or_more_than_nodes_and_start_alike():
    """Walks, and experiments beside one another, whose nodes have the starts of their own seeds."""
    population = Population(mlp, [*starts(2, 5), *starts(3, 6, same=True)])
    assert torch.equal(population.X[:2], population_of(mlp, 2, 5).X)
    assert torch.equal(population.X[2:], population_of(mlp, 1, 6).X.expand(3, -1))
    with torch.no_grad():
        population.modules[3][0].weight += 1
    assert torch.equal(population.X[2], population.X[4])


def test_batch_statistics_are_averaged_and_counters_are_not():
    population = population_of(with_batch_norm, 3, 0, dtype=torch.float64)
    assert population.size == MLP_SIZE + 4 * 3
    rng = np.random.default_rng(0)
    for node, module in enumerate(population.modules):
        module.train()
        for _ in range(node + 1):
            module(torch.from_numpy(rng.random((6, 4))) * (node + 1))
    population.check_views()
    means = [module[1].running_mean.clone() for module in population.modules]
    assert torch.stack(means).std(0).min() > 1e-3
    average(population.X, np.full((3, 3), 1 / 3))
    for node, module in enumerate(population.modules):
        assert torch.allclose(module[1].running_mean, sum(means) / 3, rtol=0, atol=1e-14)
        assert module[1].num_batches_tracked.item() == node + 1


def test_integer_buffers_survive_saving_and_loading():
    population, other = (population_of(with_batch_norm, 3, 0) for _ in range(2))
    for node, module in enumerate(population.modules):
        module[1].num_batches_tracked += 10 * node
    saved = population.buffers()
    assert [array.tolist() for array in saved] == [[0, 10, 20]]
    assert other.buffers()[0].tolist() == [0, 0, 0]
    other.load_buffers(saved)
    assert [m[1].num_batches_tracked.item() for m in other.modules] == [0, 10, 20]
    assert population_of(mlp, 2, 0).buffers() == []


def test_starts_are_keyed_by_seed_and_node_whatever_the_number_of_nodes():
    few, many = population_of(mlp, 3, 5), population_of(mlp, 6, 5)
    assert torch.equal(few.X, many.X[:3])
    assert len({tuple(row.tolist()) for row in many.X}) == 6
    other = population_of(mlp, 3, 6)
    assert not (other.X[:, :MLP_SIZE] == few.X[:, :MLP_SIZE]).any()


def test_the_same_start_for_all_is_that_of_node_0():
    same = population_of(mlp, 4, 5, same=True)
    assert torch.equal(same.X, population_of(mlp, 1, 5).X.expand(4, -1))
    # Equal at the start, but each node has a model of its own.
    with torch.no_grad():
        same.modules[1][0].weight += 1
    assert torch.equal(same.X[0], same.X[2])
    assert not torch.equal(same.X[0], same.X[1])


def test_building_leaves_torchs_global_generator_alone():
    before = torch.get_rng_state()
    first = population_of(mlp, 3, 0).X
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(population_of(mlp, 3, 0).X, first)


def test_building_seeds_no_accelerator(monkeypatch):
    def refuse(seed):
        raise AssertionError(seed)

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    population_of(mlp, 3, 0)


@pytest.mark.parametrize("chunk_bytes", [64, 4 << 20])
def test_consensus_distance_is_that_of_the_parameters_to_their_mean(monkeypatch, chunk_bytes):
    """Batch statistics do not count: those of node 0 are far from the others'."""
    monkeypatch.setattr(module_under_test, "CHUNK_BYTES", chunk_bytes)
    nodes = population_of(with_batch_norm, 5, seed=3, dtype=torch.float64)
    nodes.modules[0][1].running_mean += 100
    flat = [torch.cat([p.detach().flatten() for p in module.parameters()]) for module in nodes.modules]
    mean = sum(flat) / 5
    expected = [float((own - mean).norm()) for own in flat]
    np.testing.assert_allclose(nodes.consensus_distance(), expected, rtol=1e-6)
    assert (population_of(mlp, 3, seed=0, same=True).consensus_distance() < 1e-6).all()
