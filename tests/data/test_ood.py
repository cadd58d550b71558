"""OOD data: how many samples become OOD, which ones, and what is measured with them."""

import math
from fractions import Fraction

import numpy as np
import pytest
from data.test_trigger import with_patch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.data.config import DataConfig
from dml.data.dataset import Dataset
from dml.data.ood import cut_test_set, make_node_data, spread_over_labels
from dml.errors import InputError


def dataset(rng, train, test, labels, side=8, channels=1):
    """Random images whose last pixel says which one it is; the trigger does not reach that far."""

    def images(count, first):
        x = rng.random((count, channels, side, side), dtype=np.float32)
        x[:, 0, -1, -1] = first + np.arange(count)
        return x

    return Dataset(
        images(train, 0),
        rng.integers(labels, size=train),
        images(test, train),
        rng.integers(labels, size=test),
        labels,
    )


def identity(x):
    return x[:, 0, -1, -1].astype(int)


def quota(counts, k):
    """k spread in proportion to counts by largest remainder, in fractions; ties by class index."""
    exact = [Fraction(int(c) * k, int(sum(counts))) for c in counts]
    whole = [math.floor(e) for e in exact]
    order = sorted(range(len(counts)), key=lambda c: (whole[c] - exact[c], c))
    for c in order[: k - sum(whole)]:
        whole[c] += 1
    return whole


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 60),
    st.sampled_from(["0.01", "0.1", "0.29", "0.5", "0.7", "0.99"]),
    st.booleans(),
    st.integers(1, 6),
)
@settings(max_examples=100)
def test_the_right_samples_carry_the_trigger(seed, samples, share, many_to_one, labels):
    rng = np.random.default_rng(seed)
    data = dataset(rng, samples + 40, 10, labels)
    order = rng.permutation(samples + 40)
    parts = [np.sort(p) for p in np.split(order, [20, 20 + samples])]
    config = DataConfig(backdoor=True, backdoor_proportion=float(share), many_to_one=many_to_one)
    nodes = make_node_data(data, parts, config, (1,), seed)

    k = min(max(1, math.ceil(Fraction(share) * samples)), samples - 1)
    assert nodes.ood_samples.tolist() == [0, k, 0]
    assert nodes.samples.tolist() == [len(p) for p in parts]
    for node in (0, 2):
        assert np.array_equal(nodes.x[node], data.train_x[parts[node]])
        assert np.array_equal(nodes.y[node], data.train_y[parts[node]])
    for node, part in enumerate(parts):
        for label in range(labels):
            assert nodes.label_counts[node, label] == sum(data.train_y[s] == label for s in part)

    x, y, who = nodes.x[1], nodes.y[1], identity(nodes.x[1])
    assert sorted(who) == parts[1].tolist()
    for node in range(3):
        assert identity(nodes.x[node]).tolist() == nodes.index[node].tolist()
    clean, triggered = slice(0, samples - k), slice(samples - k, samples)
    assert np.array_equal(x[clean], data.train_x[who[clean]])
    assert np.array_equal(y[clean], data.train_y[who[clean]])
    assert (np.diff(who[clean]) > 0).all()
    assert (np.diff(who[triggered]) > 0).all()
    own = data.train_y[who[triggered]]
    assert np.array_equal(x[triggered], np.stack([with_patch(data.train_x[s], 2) for s in who[triggered]]))
    assert y[triggered].tolist() == [0 if many_to_one else (o + 1) % labels for o in own]
    counts = [int((data.train_y[parts[1]] == label).sum()) for label in range(labels)]
    assert np.bincount(own, minlength=labels).tolist() == quota(counts, k)


@pytest.mark.parametrize(
    ("share", "samples", "k"),
    [(0.1, 50, 5), (0.55, 20, 11), (0.07, 100, 7), (0.14, 50, 7), (0.1, 51, 6), (0.1, 43, 5), (0.001, 9, 1)],
)
def test_a_share_that_is_a_whole_number_is_not_rounded_up(share, samples, k):
    # In floating point 0.55 x 20 is above 11, and 0.07 x 100 above 7.
    data = dataset(np.random.default_rng(0), samples, 10, 5)
    config = DataConfig(backdoor=True, backdoor_proportion=share)
    assert make_node_data(data, [np.arange(samples)], config, (0,), 0).ood_samples.tolist() == [k]


def test_ties_between_classes_go_to_the_lower_index():
    y = np.array([3, 2, 1, 0] * 3)
    chosen = spread_over_labels(y, 4, 2, np.random.default_rng(0))
    assert sorted(y[chosen]) == [0, 1]


def test_within_a_class_every_sample_is_as_likely():
    y = np.array([0, 0, 0, 0, 1, 1])
    counts = np.zeros(6)
    for seed in range(900):
        counts[spread_over_labels(y, 2, 3, np.random.default_rng(seed))] += 1
    assert (np.abs(counts / 900 - 0.5) < 4 * 0.5 / 30).all()


def test_a_nodes_trigger_is_keyed_by_seed_and_node():
    # The same labels on every node: only the key can make a difference.
    data = dataset(np.random.default_rng(0), 90, 10, 5)
    data.train_y[:] = np.arange(90) % 5
    parts = np.split(np.arange(90), 3)
    config = DataConfig(backdoor=True, backdoor_proportion=0.3)

    def triggered(ood, seed):
        nodes = make_node_data(data, parts, config, ood, seed)
        return [set(identity(x[len(x) - k :])) for x, k in zip(nodes.x, nodes.ood_samples, strict=True)]

    alone, beside = triggered((1,), 0), triggered((0, 1, 2), 0)
    assert alone[1] == beside[1]
    assert alone[0] == alone[2] == set()
    assert min(map(len, beside)) == 9
    assert {s - 30 for s in beside[1]} != beside[0]
    assert triggered((1,), 0) == alone
    assert triggered((1,), 1)[1] != alone[1]


def test_an_ood_node_with_one_sample_is_refused_and_named():
    data = dataset(np.random.default_rng(0), 11, 10, 5)
    parts = [np.arange(10), np.array([10])]
    config = DataConfig(backdoor=True)
    with pytest.raises(InputError, match=r"backdoor_node_idx 1: has one training sample"):
        make_node_data(data, parts, config, (1,), 0)
    assert make_node_data(data, parts, config, (0,), 0).ood_samples.tolist() == [1, 0]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 80),
    st.floats(0.01, 0.99),
    st.booleans(),
    st.sampled_from([8, 28]),
)
@settings(max_examples=60)
def test_the_ood_test_set_and_the_clean_one_share_no_image(seed, size, share, many_to_one, side):
    rng = np.random.default_rng(seed)
    data = dataset(rng, 4, size, 5, side)
    config = DataConfig(ood_test_proportion=share, many_to_one=many_to_one)
    sets = cut_test_set(data, config, seed)
    clean, ood = identity(sets.x) - 4, identity(sets.ood_x) - 4
    assert len(ood) == min(max(1, round(share * size)), size - 1)
    assert sorted([*clean, *ood]) == list(range(size))
    assert np.array_equal(sets.x, data.test_x[clean])
    assert np.array_equal(sets.y, data.test_y[clean])
    patched = [with_patch(data.test_x[s], {8: 2, 28: 4}[side]) for s in ood]
    assert np.array_equal(sets.ood_x, np.stack(patched))
    assert np.array_equal(sets.ood_own, data.test_y[ood])
    assert sets.ood_y.tolist() == [0 if many_to_one else (y + 1) % 5 for y in data.test_y[ood]]
    counts = [int((data.test_y == label).sum()) for label in range(5)]
    assert np.bincount(sets.ood_own, minlength=5).tolist() == quota(counts, len(ood))


def test_the_test_sets_are_keyed_by_the_seed():
    data = dataset(np.random.default_rng(0), 4, 60, 5)
    first, again, other = (set(identity(cut_test_set(data, DataConfig(), s).ood_x)) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_trigger_at_a_random_place_is_keyed_by_its_sample():
    data = dataset(np.random.default_rng(0), 300, 300, 5, side=12, channels=3)
    data.train_x[:, 0, -1, -1] = np.arange(300) / 1000
    flags = DataConfig(backdoor=True, backdoor_proportion=0.9, random_bd=True)

    def corners(x):
        """Where the patch lies, found in the picture."""
        found = {}
        for image in x:
            rows, columns = np.nonzero(image[0] == 5.0)
            assert len(rows) == 4
            r, c = rows.min(), columns.min()
            assert (image[0, r : r + 2, c : c + 2] == 5).all()
            assert (image[1:, r : r + 2, c : c + 2] == 0).all()
            found[float(image[1, 5, 5]), float(image[2, 9, 9])] = (int(r), int(c))
        return found

    whole = make_node_data(data, [np.arange(300)], flags, (0,), 7)
    half = make_node_data(data, [np.arange(150), np.arange(150, 300)], flags, (1,), 7)
    first = corners(whole.x[0][-270:])
    second = corners(half.x[1][-135:])
    both = set(first) & set(second)
    assert len(both) > 100
    assert all(first[image] == second[image] for image in both)
    places = np.array(list(first.values()))
    assert places.min() == 0
    assert places.max() == 10
    assert len(set(map(tuple, places.tolist()))) > 80
    # Test images have places of their own.
    assert corners(cut_test_set(data, flags, 7).ood_x) != first
    other = corners(make_node_data(data, [np.arange(300)], flags, (0,), 8).x[0][-270:])
    assert any(first[image] != other[image] for image in set(first) & set(other))


def test_rotated_images_keep_their_labels():
    data = dataset(np.random.default_rng(0), 40, 30, 5)
    flags = DataConfig(backdoor=True, ood_kind="rotated", backdoor_proportion=0.25)
    nodes = make_node_data(data, [np.arange(20), np.arange(20, 40)], flags, (1,), 0)
    assert nodes.ood_samples.tolist() == [0, 5]
    for x, y in zip(nodes.x[1][-5:], nodes.y[1][-5:], strict=True):
        # The last pixel, which says who it is, has gone to the top right: a quarter turn to the left.
        who = int(x[0, 0, -1])
        original = data.train_x[who, 0]
        assert all(x[0, 7 - c, r] == original[r, c] for r in range(8) for c in range(8))
        assert y == data.train_y[who]
    sets = cut_test_set(data, flags, 0)
    assert not sets.commanded
    assert np.array_equal(sets.ood_y, sets.ood_own)
    assert len(sets.y) + len(sets.ood_y) == 30


def test_the_test_images_of_a_held_out_class_are_the_ood_test_set():
    data = dataset(np.random.default_rng(0), 40, 30, 5)
    sets = cut_test_set(data, DataConfig(ood_kind="heldout_class", ood_class=2), 0)
    assert set(sets.ood_y) == {2}
    assert 2 not in sets.y
    assert np.array_equal(sets.ood_x, data.test_x[data.test_y == 2])
    assert len(sets.y) + len(sets.ood_y) == 30
    data.test_y[data.test_y == 2] = 1
    with pytest.raises(InputError, match="ood_class 2: none of the test images"):
        cut_test_set(data, DataConfig(ood_kind="heldout_class", ood_class=2), 0)


@pytest.mark.parametrize("random_bd", [False, True])
def test_images_too_small_for_the_patch_are_refused(random_bd):
    data = dataset(np.random.default_rng(0), 30, 10, 2, side=1)
    config = DataConfig(backdoor=True, backdoor_node_idx=(0,), random_bd=random_bd)
    with pytest.raises(InputError, match=r"dataset digits: .* 1 x 1 .* 2 x 2"):
        cut_test_set(data, config, 0)
    with pytest.raises(InputError, match=r"dataset digits: .* 1 x 1 .* 2 x 2"):
        make_node_data(data, [np.arange(15), np.arange(15, 30)], config, (0,), 0)
    small = dataset(np.random.default_rng(0), 30, 10, 2, side=2)
    assert len(cut_test_set(small, config, 0).ood_y) == 1
