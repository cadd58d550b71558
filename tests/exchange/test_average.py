"""An average is W Y by either product, whatever the sizes, and carries nothing where W has no entry."""

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from rules import average
from scipy.sparse import csr_array

from dml.exchange import sums
from dml.exchange.in_memory import InMemory
from dml.topology import make

ENTRIES, DENSE = 10**6, 0
BOTH = pytest.mark.parametrize("most_entries", [ENTRIES, DENSE], ids=["entries", "dense"])
GIVEN = pytest.mark.parametrize("given", [False, True], ids=["fixed", "of each round"])


@pytest.fixture(autouse=True)
def small_matrices_too(monkeypatch):
    monkeypatch.setattr(sums, "LEAST_PRODUCTS", 0)


def coefficients(rng, n, density, untouched=()):
    """A row-stochastic matrix in which the rows `untouched` are rows of I."""
    C = rng.random((n, n)) * (rng.random((n, n)) < density) + np.eye(n) * rng.random(n)
    C /= C.sum(axis=1, keepdims=True)
    C[list(untouched)] = np.eye(n)[list(untouched)]
    return C


def plain(C, X):
    return np.array([sum(c * x for c, x in zip(row, X.astype(np.float64), strict=True)) for row in C])


@GIVEN
@BOTH
@pytest.mark.parametrize("width", [16, 256, 272, 768, 4816])
@pytest.mark.parametrize("untouched", [(), (0, 3, 4)])
@pytest.mark.parametrize("chunk_bytes", [1, 30_000, 1 << 20])
def test_it_is_the_product_whatever_the_sizes(
    monkeypatch, given, most_entries, width, untouched, chunk_bytes
):
    monkeypatch.setattr(sums, "MOST_ENTRIES", most_entries)
    monkeypatch.setattr(sums, "CACHE_BYTES", chunk_bytes)
    rng = np.random.default_rng(width)
    C = coefficients(rng, 6, 0.4, untouched)
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        before = rng.normal(size=(6, width)).astype(dtype)
        X = torch.from_numpy(before.copy())
        average(X, C, given)
        np.testing.assert_allclose(X.numpy(), plain(C, before), rtol=0, atol=tolerance)
        assert np.array_equal(X.numpy()[list(untouched)], before[list(untouched)])


@GIVEN
@drawn(
    st.integers(0, 2**32 - 1),
    st.integers(2, 20),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 16 * 8 * 7, 1 << 20]),
    st.sampled_from([0, 10**9]),
)
@settings(max_examples=30)
def test_it_is_the_product_of_any_coefficients(given, seed, n, density, idle, chunk_bytes, least_products):
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.normal(size=(n, 80)))
    untouched = np.flatnonzero(rng.random(n) < idle)
    C = coefficients(rng, n, density, untouched)
    before = X.numpy().copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "CACHE_BYTES", chunk_bytes)
        patch.setattr(sums, "LEAST_PRODUCTS", least_products)
        average(X, C, given)
    np.testing.assert_allclose(X.numpy(), plain(C, before), rtol=0, atol=1e-12)
    assert np.array_equal(X.numpy()[untouched], before[untouched])


@GIVEN
@pytest.mark.parametrize("n", [33, 100])
def test_it_is_the_product_on_complete_graphs_below_and_above_the_bound(n, given):
    rng = np.random.default_rng(n)
    C = coefficients(rng, n, 1.0)
    before = rng.normal(size=(n, 400)).astype(np.float32)
    X = torch.from_numpy(before.copy())
    average(X, C, given)
    np.testing.assert_allclose(X.numpy(), plain(C, before), rtol=0, atol=1e-5)


@GIVEN
@BOTH
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_model_reaches_those_who_read_it_and_no_others(monkeypatch, given, most_entries, broken):
    monkeypatch.setattr(sums, "MOST_ENTRIES", most_entries)
    rng = np.random.default_rng(0)
    C = coefficients(rng, 7, 0.3)
    C[:, 2] *= np.arange(7) >= 2
    before = rng.normal(size=(7, 304)).astype(np.float32)
    before[2, 100:280] = broken
    X = torch.from_numpy(before.copy())
    average(X, C, given)
    readers = C[:, 2] != 0
    assert 0 < readers.sum() < 7
    assert not torch.isfinite(X[readers, 100:280]).any()
    assert torch.isfinite(X[~readers]).all()
    assert torch.isfinite(X[:, :100]).all()
    np.testing.assert_allclose(X.numpy()[:, 280:], plain(C, before[:, 280:]), rtol=0, atol=1e-5)


@GIVEN
@BOTH
def test_a_coefficient_that_is_no_number_of_xs_type_carries_nothing(monkeypatch, given, most_entries):
    """1e-60 is 0 in float32; 0 times infinity would be a NaN."""
    monkeypatch.setattr(sums, "MOST_ENTRIES", most_entries)
    X = torch.ones(2, 16)
    X[1] = torch.inf
    average(X, np.array([[0.5, 1e-60], [0.0, 1.0]]), given)
    assert (X[0] == 0.5).all()


@GIVEN
@BOTH
def test_a_row_without_entries_becomes_0(monkeypatch, given, most_entries):
    monkeypatch.setattr(sums, "MOST_ENTRIES", most_entries)
    for C in (np.diag([0.0, 1.0]), np.array([[0.0, 0.0], [0.5, 0.5]])):
        X = torch.ones(2, 272)
        average(X, C, given)
        assert X.sum(1).tolist() == [0, 272]


def test_sums_over_entries_do_not_depend_on_the_chunks_or_the_threads(monkeypatch):
    rng = np.random.default_rng(1)
    C = coefficients(rng, 33, 0.2)
    start = torch.from_numpy(rng.normal(size=(33, 4816)).astype(np.float32))
    results = []
    before = torch.get_num_threads()
    try:
        for threads, chunk_bytes in ((1, 1 << 20), (1, 1 << 20), (2, 1 << 20), (1, 1 << 17)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(sums, "CACHE_BYTES", chunk_bytes)
            results.append(start.clone())
            average(results[-1], C)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
    assert not torch.equal(results[0], start)


def test_stored_zeros_and_rows_out_of_order_are_allowed():
    # Row 0 is a row of I with a stored zero, row 1 stands from right to left, row 2 is empty.
    C = csr_array(
        (np.array([1.0, 0.0, 0.25, 0.75]), np.array([0, 2, 2, 0]), np.array([0, 2, 4, 4])), shape=(3, 3)
    )
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 16)))
    before = X.numpy().copy()
    average(X, C)
    assert np.array_equal(X[0], before[0])
    np.testing.assert_allclose(X[1], 0.75 * before[0] + 0.25 * before[2], rtol=0, atol=1e-14)
    assert (X[2] == 0).all()


def test_rows_of_the_identity_keep_their_exact_bits():
    X = torch.randn(4, 32)
    X[2, :3] = torch.tensor([-0.0, 1e-42, float("nan")])
    before = X.clone()
    C = np.eye(4)
    C[0, :2] = 0.5
    average(X, C)
    assert torch.equal(X[1:].view(torch.int32), before[1:].view(torch.int32))
    # Also if a zero is stored beside the one: row 1 reads nothing of the NaN in row 2.
    stored_zero = csr_array(
        (np.array([1.0, 1, 0, 1, 1]), np.array([0, 1, 2, 2, 3]), np.array([0, 1, 3, 4, 5]))
    )
    average(X, stored_zero)
    assert torch.equal(X[1:].view(torch.int32), before[1:].view(torch.int32))


def test_a_broken_model_is_healed_by_sound_ones_if_it_reads_those_alone():
    X = torch.randn(4, 32)
    X[3] = torch.nan
    C = np.zeros((4, 4))
    C[:3, :3] = 1 / 3
    C[3, 3] = 1
    average(X, C)
    assert X[:3].isfinite().all()
    C[3] = [0.5, 0.5, 0, 0]
    average(X, C)
    assert X.isfinite().all()


def test_only_links_carry_vectors():
    topology = make("chain:n=3")
    W = csr_array(np.full((3, 3), 1 / 3))
    for given in (W, lambda t, arrived: W):
        with pytest.raises(ValueError, match="W has entries that no link carries"):
            InMemory(topology, torch.zeros(3, 4)).average(given, "renormalise")(torch.zeros(3, 4), 0)


def test_it_takes_the_coefficients_of_each_round():
    rng = np.random.default_rng(2)
    X = torch.from_numpy(rng.normal(size=(5, 30)))
    topology, expected = make("complete:n=5"), X.numpy().copy()
    each = [coefficients(rng, 5, 0.6) for _ in range(3)]
    taken = InMemory(topology, X).average(lambda t, arrived: csr_array(each[t]), "renormalise")
    for t, W in enumerate(each):
        taken(X, t)
        expected = plain(W, expected)
    np.testing.assert_allclose(X.numpy(), expected, rtol=0, atol=1e-13)


def test_a_lost_message_has_no_coefficient():
    X, topology = torch.zeros(2, 4), make("chain:n=2")
    exchange = InMemory(topology.with_weights([1e-300], "failing"), X)
    taken = exchange.average(lambda t, arrived: csr_array(np.full((2, 2), 0.5)), "renormalise")
    with pytest.raises(ValueError, match="on links whose messages are lost"):
        taken(X, 0)
