"""The similarity of models, held against a loop over modules, tensors and places."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import population_of
from torch import nn
from torch.nn import functional

from dml.coefficients import similarity


class Mixed(nn.Module):
    """Every kind of parameter: convolution, batch norm, matrix, vector, tied, frozen, number, empty."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(()))
        self.convolution = nn.Conv2d(3, 4, (2, 3))
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(5, 7)
        self.tied = nn.Linear(5, 7)
        self.tied.weight = self.hidden.weight
        self.hidden.bias.requires_grad_(False)
        self.empty = nn.Parameter(torch.zeros(3, 0))


def cosine(a, b):
    """Of two lists of numbers; 0 if one is all zeros."""
    lengths = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def plain_similarity(one, other):
    """Of two modules: tensor by tensor, place by place."""
    means = []
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        if not p.numel() or not p.requires_grad:
            continue
        shape = (*p.shape, 1, 1)[: max(2, p.dim())]
        p, q = (t.detach().double().numpy().reshape(shape) for t in (p, q))
        places = [(r, *rest) for r in range(shape[0]) for rest in np.ndindex(shape[2:])]
        cosines = [
            cosine(*([float(t[(r, k, *rest)]) for k in range(shape[1])] for t in (p, q)))
            for r, *rest in places
        ]
        means.append(math.fsum(cosines) / len(cosines))
    return math.fsum(means) / len(means)


def of(population, receiver, sender):
    return similarity.cosine_similarity(
        lambda columns: population.X[:, columns], population.tensors, np.array(receiver), np.array(sender)
    )


@given(st.integers(0, 1000), st.integers(2, 6), st.sampled_from([1, 700, 1 << 22]))
@settings(max_examples=20)
def test_similarity_equals_a_loop_over_modules_whatever_the_chunks(seed, n, chunk):
    population = population_of(Mixed, n, seed)
    rng = np.random.default_rng(seed)
    receiver, sender = rng.integers(n, size=(2, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "CHUNK_BYTES", chunk)
        found = of(population, receiver, sender)
    assert found.dtype == np.float64
    for value, i, j in zip(found, receiver, sender, strict=True):
        expected = plain_similarity(population.modules[i], population.modules[j])
        assert value == pytest.approx(expected, rel=0, abs=1e-12)


def test_similarity_is_torchs_cosine_along_the_second_dimension():
    population = population_of(lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.Linear(6, 2, bias=False)), 2, 0)
    one, other = ([p.detach().double() for p in module.parameters()] for module in population.modules)
    shapes = [(4, 5, 5), (4,), (2,)]
    columns = [[p if p.dim() > 1 else p[:, None] for p in side] for side in (one, other)]
    cosines = [functional.cosine_similarity(p, q, dim=1) for p, q in zip(*columns, strict=True)]
    assert [tuple(c.shape) for c in cosines] == shapes
    expected = np.mean([c.mean().item() for c in cosines])
    np.testing.assert_allclose(of(population, [0, 1], [1, 0]), expected, rtol=0, atol=1e-12)


def test_a_model_is_like_itself_and_unlike_its_opposite_whatever_its_scale():
    population = population_of(lambda: nn.Linear(4, 3), 3, 0, same=True)
    with torch.no_grad():
        population.X[1] *= -1e-20
        population.X[2] *= 1e20
    np.testing.assert_allclose(of(population, [0, 0, 0], [0, 1, 2]), [1, -1, 1], rtol=0, atol=1e-12)


def test_a_vector_of_zeros_is_like_nothing():
    population = population_of(lambda: nn.Linear(4, 3, bias=False), 2, 0, same=True)
    with torch.no_grad():
        population.X[1, :4] = 0  # one of three rows
    np.testing.assert_allclose(of(population, [0, 1], [1, 1]), [2 / 3, 2 / 3], rtol=0, atol=1e-12)


def test_float_buffers_do_not_count():
    population = population_of(lambda: nn.BatchNorm1d(3), 2, 0)
    assert population.tensors == [(0, torch.Size([3])), (3, torch.Size([3]))]
    with torch.no_grad():
        population.X[:, :6] = 1
        population.modules[1].running_mean -= 9
    assert of(population, [0], [1]).tolist() == [1]


def test_no_pairs_have_no_similarities():
    assert of(population_of(lambda: nn.Linear(2, 1), 2, 0), np.zeros(0, int), np.zeros(0, int)).shape == (0,)
