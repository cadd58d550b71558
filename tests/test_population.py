"""The population: modules live in the matrix X, and mixing is C X and nothing else."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from dml import mixing, randomness
from dml import population as module_under_test
from dml.population import Population


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


def random_coefficients(rng, n, density, untouched):
    """A row-stochastic matrix in which the rows `untouched` are rows of I."""
    C = rng.random((n, n)) * (rng.random((n, n)) < density) + np.eye(n) * rng.random(n)
    C /= C.sum(axis=1, keepdims=True)
    C[untouched] = np.eye(n)[untouched]
    return csr_array(C)


@pytest.mark.parametrize("build", [mlp, with_batch_norm, convolution, Tied])
def test_every_parameter_and_float_buffer_is_a_view_into_its_nodes_row(build):
    population = Population(build, 3, 0)
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
    population = Population(mlp, 2, 9)
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
    population = Population(convolution, 3, 0)
    population.check_views()
    leave(population)
    with pytest.raises(RuntimeError, match="node 1 has left the matrix"):
        population.check_views()


def test_a_batch_norm_buffer_that_left_the_matrix_is_found():
    population = Population(with_batch_norm, 2, 0)
    population.modules[0][1].running_mean = torch.zeros(3)
    with pytest.raises(RuntimeError, match="node 0 has left the matrix"):
        population.check_views()


def test_rows_are_padded_with_zeros_that_stay_zeros():
    population = Population(mlp, 4, 0)
    assert population.size == MLP_SIZE
    assert population.X.shape == (4, 32)
    for module in population.modules:
        functional.cross_entropy(module(torch.ones(1, 4)), torch.tensor([1])).backward()
        torch.optim.SGD(module.parameters(), 0.1, weight_decay=0.1).step()
    population.mix(random_coefficients(np.random.default_rng(0), 4, 0.7, []))
    assert (population.X[:, MLP_SIZE:] == 0).all()
    assert (population.X[:, :MLP_SIZE] != 0).any()


def test_tied_weights_count_once():
    population = Population(Tied, 3, 0)
    assert population.size == 5 * 3
    assert [p.shape for p in population.parameters(0)] == [(5, 3)]
    for module in population.modules:
        assert module.out.weight.data_ptr() == module.embedding.weight.data_ptr()
    population.mix(csr_array(np.full((3, 3), 1 / 3)))
    tokens = torch.arange(5)
    assert torch.equal(population.modules[0](tokens), population.modules[2](tokens))


def test_frozen_parameters_are_mixed_but_not_trained():
    def build():
        model = mlp()
        model[0].weight.requires_grad_(False)
        return model

    population = Population(build, 2, 0)
    assert population.size == MLP_SIZE
    assert [p.shape for p in population.parameters(1)] == [(3,), (2, 3), (2,)]


def test_batch_statistics_are_mixed_and_counters_are_not():
    population = Population(with_batch_norm, 3, 0, dtype=torch.float64)
    assert population.size == MLP_SIZE + 4 * 3
    rng = np.random.default_rng(0)
    for node, module in enumerate(population.modules):
        module.train()
        for _ in range(node + 1):
            module(torch.from_numpy(rng.random((6, 4))) * (node + 1))
    population.check_views()
    means = [module[1].running_mean.clone() for module in population.modules]
    assert torch.stack(means).std(0).min() > 1e-3
    population.mix(csr_array(np.full((3, 3), 1 / 3)))
    for node, module in enumerate(population.modules):
        assert torch.allclose(module[1].running_mean, sum(means) / 3, rtol=0, atol=1e-14)
        assert module[1].num_batches_tracked.item() == node + 1


def test_integer_buffers_survive_saving_and_loading():
    population, other = (Population(with_batch_norm, 3, 0) for _ in range(2))
    for node, module in enumerate(population.modules):
        module[1].num_batches_tracked += 10 * node
    saved = population.buffers()
    assert [array.tolist() for array in saved] == [[0, 10, 20]]
    assert other.buffers()[0].tolist() == [0, 0, 0]
    other.load_buffers(saved)
    assert [m[1].num_batches_tracked.item() for m in other.modules] == [0, 10, 20]
    assert Population(mlp, 2, 0).buffers() == []


def test_starts_are_keyed_by_seed_and_node_whatever_the_number_of_nodes():
    few, many = Population(mlp, 3, 5), Population(mlp, 6, 5)
    assert torch.equal(few.X, many.X[:3])
    assert len({tuple(row.tolist()) for row in many.X}) == 6
    other = Population(mlp, 3, 6)
    assert not (other.X[:, :MLP_SIZE] == few.X[:, :MLP_SIZE]).any()


def test_the_same_start_for_all_is_that_of_node_0():
    same = Population(mlp, 4, 5, same=True)
    assert torch.equal(same.X, Population(mlp, 1, 5).X.expand(4, -1))
    # Equal at the start, but each node has a model of its own.
    with torch.no_grad():
        same.modules[1][0].weight += 1
    assert torch.equal(same.X[0], same.X[2])
    assert not torch.equal(same.X[0], same.X[1])


def test_building_leaves_torchs_global_generator_alone():
    before = torch.get_rng_state()
    first = Population(mlp, 3, 0).X
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(Population(mlp, 3, 0).X, first)


def test_building_seeds_no_accelerator(monkeypatch):
    def refuse(seed):
        raise AssertionError(seed)

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    Population(mlp, 3, 0)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 16 * 8 * 7, 1 << 20]),
    st.sampled_from([0, mixing.LEAST_PRODUCTS]),
)
@settings(deadline=None, max_examples=60)
def test_mixing_is_c_times_x(seed, n, density, idle, chunk_bytes, least_products):
    rng = np.random.default_rng(seed)
    population = Population(lambda: nn.Linear(12, 6), n, 0, dtype=torch.float64)
    with torch.no_grad():
        population.X[:, : population.size] = torch.from_numpy(rng.normal(size=(n, population.size)))
    untouched = np.flatnonzero(rng.random(n) < idle)
    C = random_coefficients(rng, n, density, untouched)
    before = population.X.numpy().copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "ENTRIES_BYTES", chunk_bytes)
        patch.setattr(mixing, "DENSE_BYTES", chunk_bytes)
        patch.setattr(mixing, "LEAST_PRODUCTS", least_products)
        population.mix(C)
    expected = np.array([sum(c * x for c, x in zip(row, before, strict=True)) for row in C.toarray()])
    np.testing.assert_allclose(population.X.numpy(), expected, rtol=0, atol=1e-12)
    assert np.array_equal(population.X.numpy()[untouched], before[untouched])
    population.check_views()


def test_mixing_takes_coefficients_with_stored_zeros_and_rows_out_of_order():
    population = Population(mlp, 3, 0, dtype=torch.float64)
    before = population.X.numpy().copy()
    # Row 0 is a row of I with a stored zero, row 1 stands from right to left, row 2 is empty.
    C = csr_array(
        (np.array([1.0, 0.0, 0.25, 0.75]), np.array([0, 2, 2, 0]), np.array([0, 2, 4, 4])), shape=(3, 3)
    )
    population.mix(C)
    after = population.X.numpy()
    assert np.array_equal(after[0], before[0])
    np.testing.assert_allclose(after[1], 0.75 * before[0] + 0.25 * before[2], rtol=0, atol=1e-14)
    assert (after[2] == 0).all()


def test_rows_of_the_identity_keep_their_exact_bits():
    population = Population(mlp, 4, 0)
    with torch.no_grad():
        population.X[2, :3] = torch.tensor([-0.0, 1e-42, float("nan")])
    before = population.X.clone()
    C = np.eye(4)
    C[0, :2] = 0.5
    population.mix(csr_array(C))
    assert torch.equal(population.X[1:].view(torch.int32), before[1:].view(torch.int32))
    # Also if a zero is stored beside the one: row 1 reads nothing of the NaN in row 2.
    stored_zero = csr_array(
        (np.array([1.0, 1, 0, 1, 1]), np.array([0, 1, 2, 2, 3]), np.array([0, 1, 3, 4, 5]))
    )
    population.mix(stored_zero)
    assert torch.equal(population.X[1:].view(torch.int32), before[1:].view(torch.int32))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_model_that_nobody_reads_does_not_spread(broken):
    population = Population(mlp, 4, 0)
    with torch.no_grad():
        population.X[3] = broken
    C = np.zeros((4, 4))
    C[:3, :3] = 1 / 3
    C[3, 3] = 1
    population.mix(csr_array(C))
    assert population.X[:3].isfinite().all()
    # It is healed by models that are sound, if it reads those alone.
    C[3] = [0.5, 0.5, 0, 0]
    population.mix(csr_array(C))
    assert population.X.isfinite().all()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_model_reaches_only_those_who_read_it(broken):
    """On the chain 0-1-2-3 the model of node 3 is read by 2 and by itself."""
    population = Population(mlp, 4, 0)
    with torch.no_grad():
        population.X[3, :7] = broken
    before = population.X.numpy().copy()
    C = np.array([[1 / 2, 1 / 2, 0, 0], [1 / 3] * 3 + [0], [0] + [1 / 3] * 3, [0, 0, 1 / 2, 1 / 2]])
    population.mix(csr_array(C))
    after = population.X.numpy()
    assert np.isfinite(after[:2]).all()
    assert not np.isfinite(after[2:, :7]).any()
    np.testing.assert_allclose(after[:2], (C[:2, :3] @ before[:3]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[2:, 7:], (C @ before[:, 7:])[2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk_bytes", [64, 4 << 20])
def test_consensus_distance_is_that_of_the_parameters_to_their_mean(monkeypatch, chunk_bytes):
    """Batch statistics do not count: those of node 0 are far from the others'."""
    monkeypatch.setattr(module_under_test, "CHUNK_BYTES", chunk_bytes)
    nodes = Population(with_batch_norm, 5, seed=3, dtype=torch.float64)
    nodes.modules[0][1].running_mean += 100
    flat = [torch.cat([p.detach().flatten() for p in module.parameters()]) for module in nodes.modules]
    mean = sum(flat) / 5
    expected = [float((own - mean).norm()) for own in flat]
    np.testing.assert_allclose(nodes.consensus_distance(), expected, rtol=1e-6)
    assert (Population(mlp, 3, seed=0, same=True).consensus_distance() < 1e-6).all()
