"""The partition by budgets, held against the plain rule that hands out samples one by one."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.data.apportionment import largest_remainder
from dml.data.partitions.budgets import BudgetOptions, budget_partition, budgets, draw_owners


def one_by_one(labels, budget, mixture, uniform):
    """Each sample to an open node, in proportion to the weights (or, all 0, the budgets that are left)."""
    left, owner = list(budget), []
    for label, u in zip(labels, uniform, strict=True):
        weights = [mixture[i][label] if left[i] > 0 else 0.0 for i in range(len(left))]
        if sum(weights) <= 0:
            weights = [float(b) for b in left]
        total, running = sum(weights), 0.0
        # Where u x total is rounded up to the total, the last node of any weight takes the sample.
        chosen = max(i for i, w in enumerate(weights) if w > 0)
        for i, weight in enumerate(weights):
            running += weight
            if running > u * total:
                chosen = i
                break
        left[chosen] -= 1
        owner.append(chosen)
    return owner


def random_case(rng, n, classes, count, zeros):
    """Labels, budgets, weights of which a share is 0, and uniforms of which some are 0 or next to 1."""
    labels = rng.integers(classes, size=count)
    budget = 1 + rng.multinomial(count - n, rng.dirichlet(np.full(n, 0.5)))
    mixture = rng.dirichlet(np.full(classes, 0.5), size=n) * (rng.random((n, classes)) >= zeros)
    uniform = rng.random(count)
    uniform[rng.random(count) < 0.05] = np.nextafter(1.0, 0.0)
    uniform[rng.random(count) < 0.05] = 0.0
    return labels, budget, mixture, uniform


def partition(labels, n, classes, sample_alpha, label_alpha, seed):
    options = BudgetOptions(sample_alpha=sample_alpha, label_alpha=label_alpha)
    return budget_partition(labels, n, classes, options, seed)


@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(0, 300), st.sampled_from([0.01, 1, 1000]))
@settings(max_examples=100)
def test_budgets_are_the_largest_remainder_with_at_least_one(seed, n, more, alpha):
    total = n + more
    shares = np.random.default_rng(seed).dirichlet(np.full(n, alpha))
    expected = largest_remainder(shares, total).tolist()
    while 0 in expected:
        expected[expected.index(max(expected))] -= 1
        expected[expected.index(0)] += 1
    result = budgets(shares, total)
    assert result.tolist() == expected
    assert result.sum() == total
    assert result.min() >= 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 5), st.integers(0, 80))
@settings(max_examples=100)
def test_owners_equal_the_one_by_one_rule(seed, n, classes, more):
    rng = np.random.default_rng(seed)
    case = random_case(rng, n, classes, n + more, rng.choice([0.0, 0.3, 0.9, 1.0]))
    owner = draw_owners(*case)
    assert owner.tolist() == one_by_one(*case)
    assert np.bincount(owner, minlength=n).tolist() == case[1].tolist()


def test_a_node_is_full_with_its_last_sample():
    # Few samples: here a node's choices often are exactly as many as its budget.
    for seed in range(600):
        rng = np.random.default_rng(seed)
        case = random_case(rng, 4, 2, 4 + seed % 9, 0.3 * (seed % 2))
        assert draw_owners(*case).tolist() == one_by_one(*case), seed


@pytest.mark.parametrize("unit", [1.0, 5e-324])
def test_owners_on_the_borders_between_nodes(unit):
    # Uniforms that meet a border exactly belong to the node behind it, and 0 to the first that has weight.
    # Next to the smallest number there is, u x total is rounded up to the total.
    mixture = unit * np.array([[0.0], [1.0], [0.0], [1.0], [2.0]])
    uniform = np.array([0.0, 0.25, 0.5, 0.75, 0.9, np.nextafter(1.0, 0.0)])
    case = np.zeros(6, np.int64), np.full(5, 6), mixture, uniform
    expected = [1, 3, 4, 4, 4, 4]
    assert one_by_one(*case) == expected
    assert draw_owners(*case).tolist() == expected


@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_owners_equal_the_one_by_one_rule_over_many_blocks(zeros):
    # More samples than are handed out at once.
    case = random_case(np.random.default_rng(5), 12, 10, 3000, zeros)
    assert draw_owners(*case).tolist() == one_by_one(*case)


def test_a_label_that_no_open_node_wants_goes_by_remaining_budget():
    # Nobody has weight for label 1; budgets left are 1 and 3, so u = 0.3 is past node 0's quarter.
    mixture = np.array([[1.0, 0.0], [1.0, 0.0]])
    owner = draw_owners(np.array([1, 1, 1, 1]), np.array([1, 3]), mixture, np.array([0.3, 0.3, 0.3, 0.9]))
    assert owner.tolist() == [1, 0, 1, 1]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 64),
    st.integers(0, 400),
    st.integers(1, 12),
    st.sampled_from([0.001, 0.1, 1.0, 1000.0]),
    st.sampled_from([0.001, 0.1, 1.0, 1000.0]),
)
@settings(max_examples=60)
def test_every_sample_is_on_exactly_one_node_and_no_node_is_empty(
    seed, n, more, classes, sample_alpha, label_alpha
):
    labels = np.random.default_rng(seed).integers(classes, size=n + more)
    parts = partition(labels, n, classes, sample_alpha, label_alpha, seed)
    assert len(parts) == n
    assert min(map(len, parts)) >= 1
    assert sorted(np.concatenate(parts).tolist()) == list(range(n + more))
    assert all((np.diff(part) > 0).all() for part in parts)


def test_the_partition_of_many_nodes_needs_no_matrix_of_nodes():
    n, labels = 2000, np.arange(4000) % 10
    tracemalloc.start()
    try:
        parts = partition(labels, n, 10, sample_alpha=1000.0, label_alpha=1000.0, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(map(len, parts)) == len(labels)
    assert peak < n * n * 8 / 10


def test_the_partition_is_keyed_by_the_seed_alone():
    labels = np.random.default_rng(0).integers(10, size=500)
    first = partition(labels, 16, 10, 1.0, 1.0, 3)
    np.random.seed(1)  # noqa: NPY002 - what else runs must not matter
    np.random.random(7)  # noqa: NPY002
    partition(labels, 5, 10, 1.0, 1.0, 4)
    again, other = partition(labels, 16, 10, 1.0, 1.0, 3), partition(labels, 16, 10, 1.0, 1.0, 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert [len(a) for a in first] != [len(b) for b in other]


def test_at_large_alphas_every_node_expects_the_same_share_of_every_label():
    n, classes, runs = 10, 5, 200
    labels = np.repeat(np.arange(classes), [100, 150, 200, 250, 300])
    counts = np.array(
        [
            [
                np.bincount(labels[part], minlength=classes)
                for part in partition(labels, n, classes, 1000.0, 1000.0, seed)
            ]
            for seed in range(runs)
        ]
    )
    error = counts.std(axis=0, ddof=1) / np.sqrt(runs)
    deviation = np.abs(counts.mean(axis=0) - np.bincount(labels) / n) / error
    assert deviation.max() < 4


@pytest.mark.parametrize("alpha", [0.5, 1.0, 10.0])
def test_the_spread_of_the_amounts_is_that_of_a_dirichlet_draw(alpha):
    # Var of one share of Dir(alpha 1_n) is (1/n)(1 - 1/n) / (n alpha + 1).
    n, count, runs = 8, 2000, 250
    labels = np.zeros(count, np.int64)
    shares = np.array([[len(p) for p in partition(labels, n, 1, alpha, 1.0, seed)] for seed in range(runs)])
    squares = ((shares / count - 1 / n) ** 2).mean(axis=1)
    expected = (1 / n) * (1 - 1 / n) / (n * alpha + 1)
    assert abs(squares.mean() - expected) < 4 * squares.std(ddof=1) / np.sqrt(runs) + 1e-4 * expected


def test_sample_alpha_is_about_amounts_and_label_alpha_about_labels():
    labels = np.arange(4000) % 10

    def skew(sample_alpha, label_alpha):
        parts = partition(labels, 8, 10, sample_alpha, label_alpha, 0)
        sizes = np.array([len(p) for p in parts])
        largest = [np.bincount(labels[p], minlength=10).max() / len(p) for p in parts]
        return sizes.max() / sizes.mean(), float(np.mean(largest))

    amounts, mixture = skew(1000.0, 0.05)
    assert amounts < 1.15
    assert mixture > 0.3
    amounts, mixture = skew(0.3, 1000.0)
    assert amounts > 1.5
    assert mixture < 0.25


@pytest.mark.parametrize("sample_alpha", [1000.0, 0.5])
def test_labels_late_in_the_data_are_dealt_like_early_ones(sample_alpha):
    # Sorted labels: dealt in that order, the last would only get what budgets are left.
    labels, runs = np.repeat([0, 1, 2], 60), 200
    largest = np.empty((runs, 3))
    for seed in range(runs):
        parts = partition(labels, 6, 3, sample_alpha, 0.1, seed)
        counts = np.array([np.bincount(labels[part], minlength=3) for part in parts])
        largest[seed] = counts.max(axis=0)
    difference = largest[:, 0] - largest[:, 2]
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(runs)
