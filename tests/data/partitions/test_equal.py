"""The partition into equal amounts, held against a plain rule for one group and one label at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.data.partitions import equal
from dml.data.partitions.equal import GROUP, EqualOptions, spread


def equal_partition(labels, n, classes, alpha, seed):
    return equal.equal_partition(labels, n, classes, EqualOptions(label_alpha=alpha), seed)


def plain(count, room, weights):
    """One label of one group: shares by weight among the nodes with room, until nothing is left."""
    left, got = list(room), [0] * len(room)
    while count:
        open_ = [i for i in range(len(room)) if left[i]]
        total = sum(weights[i] for i in open_)
        exact = {i: weights[i] / total * count for i in open_}
        part = {i: int(exact[i]) for i in open_}
        short = count - sum(part.values())
        for i in sorted(open_, key=lambda i: (part[i] - exact[i], i))[:short]:
            part[i] += 1
        for i in open_:
            take = min(part[i], left[i])
            got[i] += take
            left[i] -= take
            count -= take
    return got, left


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=100)
def test_spreading_equals_the_plain_rule(seed, groups, k, classes):
    rng = np.random.default_rng(seed)
    counts = rng.integers(30, size=(groups, classes))
    room = np.array([rng.multinomial(total, np.full(k, 1 / k)) for total in counts.sum(1)])
    logs = rng.normal(scale=3, size=(classes, groups, k))
    found = spread(counts, room, logs)
    for group in range(groups):
        left = room[group].tolist()
        for label in range(classes):
            got, left = plain(int(counts[group, label]), left, np.exp(logs[label, group]).tolist())
            assert found[group, :, label].tolist() == got


def test_spreading_by_hand():
    # 12 samples by 3 : 1 : 0+, and room for 5, 5 and 5: 9 and 3, of which 5 and 3 fit; the 4 that are left go
    # where they are wanted, 2 to the second, and the last 2 to the third, which wants next to none.
    given_ = spread(np.array([[12, 3]]), np.array([[5, 5, 5]]), np.log([[[3, 1, 1e-9]], [[1, 1, 1]]]))
    assert given_[0].T.tolist() == [[5, 5, 2], [0, 0, 3]]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 64),
    st.integers(0, 400),
    st.integers(1, 12),
    st.sampled_from([1e-300, 1e-9, 0.01, 1.0, 1e9]),
)
@settings(max_examples=60)
def test_every_sample_is_on_one_node_and_the_sizes_are_equal(seed, n, more, classes, alpha):
    labels = np.random.default_rng(seed).integers(classes, size=n + more)
    parts = equal_partition(labels, n, classes, alpha, seed)
    assert len(parts) == n
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate(parts).tolist()) == list(range(n + more))
    assert all((np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize(("alpha", "low", "high"), [(1.0, 8, 9.3), (0.1, 4.5, 5.6), (0.01, 2.4, 3.4)])
def test_a_node_has_as_many_classes_as_in_the_published_experiments(alpha, low, high):
    """10 classes of 5,000 on 16 nodes; their partition has 8.6, 5.1 and 2.9 (measured)."""
    labels = np.random.default_rng(0).permutation(np.arange(50_000) % 10)
    classes = [
        np.mean([len(np.unique(labels[part])) for part in equal_partition(labels, 16, 10, alpha, seed)])
        for seed in range(15)
    ]
    assert low <= np.mean(classes) <= high


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_alpha_means_the_same_on_tens_of_nodes_and_on_a_thousand(alpha):
    """By the share of a node's most frequent label; each node has 60 samples."""

    def skew(n, runs):
        labels = np.arange(60 * n) % 10
        return [
            np.mean([np.bincount(labels[p]).max() / 60 for p in equal_partition(labels, n, 10, alpha, seed)])
            for seed in range(runs)
        ]

    few = skew(3 * GROUP, 60)
    assert abs(np.mean(few) - np.mean(skew(1000, 2))) < 4 * np.std(few, ddof=1) / np.sqrt(60) + 0.01


def test_a_large_alpha_gives_every_node_the_same_of_every_label():
    labels = np.arange(1600) % 10
    counts = [np.bincount(labels[p], minlength=10) for p in equal_partition(labels, 16, 10, 1e9, 0)]
    # The two groups were given different labels. In each the last label fills up what rounding has left.
    for group in (counts[:8], counts[8:]):
        assert np.ptp(group, axis=0)[:9].max() <= 1
        assert np.ptp(group, axis=0)[9] <= 9


def test_it_is_keyed_by_the_seed_alone():
    labels = np.random.default_rng(0).integers(10, size=500)
    first, other = equal_partition(labels, 16, 10, 1.0, 3), equal_partition(labels, 16, 10, 1.0, 4)
    np.random.seed(1)  # noqa: NPY002 - what else runs must not matter
    again = equal_partition(labels, 16, 10, 1.0, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_each_label_is_expected_alike_on_every_node():
    """The first label is dealt like the last, the last group's nodes like the first's."""
    labels, runs = np.repeat(np.arange(4), 60), 300
    counts = np.array(
        [
            [np.bincount(labels[p], minlength=4) for p in equal_partition(labels, 12, 4, 0.5, seed)]
            for seed in range(runs)
        ]
    )
    deviation = np.abs(counts.mean(0) - 5) / (counts.std(0, ddof=1) / np.sqrt(runs))
    assert deviation.max() < 4
