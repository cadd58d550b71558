"""Mixing is C X by either product, whatever the sizes, and carries nothing where C has no entry."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from dml import mixing

ENTRIES, DENSE = 10**6, 0
BOTH = pytest.mark.parametrize("most_entries", [ENTRIES, DENSE], ids=["entries", "dense"])


@pytest.fixture(autouse=True)
def small_matrices_too(monkeypatch):
    monkeypatch.setattr(mixing, "LEAST_PRODUCTS", 0)


def coefficients(rng, n, density, untouched=()):
    """A row-stochastic matrix in which the rows `untouched` are rows of I."""
    C = rng.random((n, n)) * (rng.random((n, n)) < density) + np.eye(n) * rng.random(n)
    C /= C.sum(axis=1, keepdims=True)
    C[list(untouched)] = np.eye(n)[list(untouched)]
    return C


def plain(C, X):
    return np.array([sum(c * x for c, x in zip(row, X.astype(np.float64), strict=True)) for row in C])


@BOTH
@pytest.mark.parametrize("width", [16, 256, 272, 768, 4816])
@pytest.mark.parametrize("untouched", [(), (0, 3, 4)])
@pytest.mark.parametrize("chunk_bytes", [1, 30_000, 1 << 20])
def test_it_is_the_product_whatever_the_sizes(monkeypatch, most_entries, width, untouched, chunk_bytes):
    monkeypatch.setattr(mixing, "MOST_ENTRIES", most_entries)
    monkeypatch.setattr(mixing, "ENTRIES_BYTES", chunk_bytes)
    monkeypatch.setattr(mixing, "DENSE_BYTES", chunk_bytes)
    rng = np.random.default_rng(width)
    C = coefficients(rng, 6, 0.4, untouched)
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        before = rng.normal(size=(6, width)).astype(dtype)
        X = torch.from_numpy(before.copy())
        mixing.mix(X, csr_array(C))
        np.testing.assert_allclose(X.numpy(), plain(C, before), rtol=0, atol=tolerance)
        assert np.array_equal(X.numpy()[list(untouched)], before[list(untouched)])


@pytest.mark.parametrize("n", [33, 100])
def test_it_is_the_product_on_complete_graphs_below_and_above_the_bound(n):
    rng = np.random.default_rng(n)
    C = coefficients(rng, n, 1.0)
    before = rng.normal(size=(n, 400)).astype(np.float32)
    X = torch.from_numpy(before.copy())
    mixing.mix(X, csr_array(C))
    np.testing.assert_allclose(X.numpy(), plain(C, before), rtol=0, atol=1e-5)


@BOTH
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_model_reaches_those_who_read_it_and_no_others(monkeypatch, most_entries, broken):
    monkeypatch.setattr(mixing, "MOST_ENTRIES", most_entries)
    rng = np.random.default_rng(0)
    C = coefficients(rng, 7, 0.3)
    C[:, 2] *= np.arange(7) >= 2
    before = rng.normal(size=(7, 304)).astype(np.float32)
    before[2, 100:280] = broken
    X = torch.from_numpy(before.copy())
    mixing.mix(X, csr_array(C))
    readers = C[:, 2] != 0
    assert 0 < readers.sum() < 7
    assert not torch.isfinite(X[readers, 100:280]).any()
    assert torch.isfinite(X[~readers]).all()
    assert torch.isfinite(X[:, :100]).all()
    np.testing.assert_allclose(X.numpy()[:, 280:], plain(C, before[:, 280:]), rtol=0, atol=1e-5)


@BOTH
def test_a_coefficient_that_is_no_number_of_xs_type_carries_nothing(monkeypatch, most_entries):
    """1e-60 is 0 in float32; 0 times infinity would be a NaN."""
    monkeypatch.setattr(mixing, "MOST_ENTRIES", most_entries)
    X = torch.ones(2, 16)
    X[1] = torch.inf
    mixing.mix(X, csr_array(np.array([[0.5, 1e-60], [0.0, 1.0]])))
    assert (X[0] == 0.5).all()


@BOTH
def test_a_row_without_entries_becomes_0(monkeypatch, most_entries):
    monkeypatch.setattr(mixing, "MOST_ENTRIES", most_entries)
    for C in (np.diag([0.0, 1.0]), np.array([[0.0, 0.0], [0.5, 0.5]])):
        X = torch.ones(2, 272)
        mixing.mix(X, csr_array(C))
        assert X.sum(1).tolist() == [0, 272]


def test_sums_over_entries_do_not_depend_on_the_chunks_or_the_threads(monkeypatch):
    rng = np.random.default_rng(1)
    C = csr_array(coefficients(rng, 33, 0.2))
    start = torch.from_numpy(rng.normal(size=(33, 4816)).astype(np.float32))
    results = []
    before = torch.get_num_threads()
    try:
        for threads, chunk_bytes in ((1, 1 << 20), (1, 1 << 20), (2, 1 << 20), (1, 1 << 17)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(mixing, "ENTRIES_BYTES", chunk_bytes)
            results.append(start.clone())
            mixing.mix(results[-1], C)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
    assert not torch.equal(results[0], start)
