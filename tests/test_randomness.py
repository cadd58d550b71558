"""Keyed random numbers: a number depends on its key alone, and the numbers of many keys are uniform."""

import hashlib
import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dml import randomness

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15

seeds = st.integers(0, 2**32 - 1)
purposes = st.sampled_from(["link", "partition", "batch order", "trigger", ""])
indices = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


def finaliser(z):
    """SplitMix64's, in Python's whole numbers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def grid(n):
    """All messages between n nodes, [n * n] receivers and senders."""
    i, j = np.divmod(np.arange(n * n), n)
    return i, j


@given(seeds, purposes, indices)
@settings(max_examples=30)
def test_the_same_key_gives_the_same_numbers(seed, purpose, key):
    first, again = (randomness.generator(seed, purpose, *key).random(5) for _ in range(2))
    assert np.array_equal(first, again)
    assert randomness.torch_seed(seed, purpose, *key) == randomness.torch_seed(seed, purpose, *key)


@given(st.tuples(seeds, purposes, indices), st.tuples(seeds, purposes, indices))
@settings(max_examples=60)
def test_a_key_that_differs_anywhere_gives_other_numbers(a, b):
    if a == b:
        return
    draws = [randomness.generator(seed, purpose, *key).random(3).tolist() for seed, purpose, key in (a, b)]
    assert not set(draws[0]) & set(draws[1])
    assert len({randomness.torch_seed(seed, purpose, *key) for seed, purpose, key in (a, b)}) == 2


def test_neighbouring_small_keys_do_not_collide():
    # Seeds, nodes and rounds are small numbers, and (seed 0, round 1) must not be (seed 1, round 0).
    keys = list(itertools.product(range(4), ["link", "partition", "trigger"], range(5), range(5)))
    first = {float(randomness.generator(*key).random()) for key in keys}
    starts = {randomness.torch_seed(*key) for key in keys}
    assert len(first) == len(starts) == len(keys)


@given(seeds, purposes, indices)
@settings(max_examples=30)
def test_a_torch_seed_is_one_that_torch_takes(seed, purpose, key):
    value = randomness.torch_seed(seed, purpose, *key)
    assert 0 <= value < 2**63
    assert torch.Generator().manual_seed(value).initial_seed() == value


def test_torch_seeds_use_all_63_bits():
    values = np.array([randomness.torch_seed(0, "initial model", node) for node in range(400)])
    share = ((values[:, None] >> np.arange(63)) & 1).mean(0)
    assert (np.abs(share - 0.5) < 5 * 0.5 / np.sqrt(len(values))).all()


@given(seeds, purposes, st.integers(0, 2**20), st.lists(indices, min_size=1, max_size=8))
@settings(max_examples=50)
def test_uniforms_equal_the_hash_of_each_message_alone(seed, purpose, step, messages):
    i, j = (np.array(column) for column in zip(*messages, strict=True))
    start = np.random.SeedSequence(randomness._words(seed, purpose, (step,))).generate_state(1, np.uint64)
    plain = []
    for a, b in messages:
        h = finaliser((a * GAMMA + int(start[0])) & MASK)
        h = finaliser((h + b * GAMMA + GAMMA) & MASK)
        plain.append((h >> 11) / 2**53)
    assert randomness.uniforms(seed, purpose, step, i, j).tolist() == plain


@given(seeds, st.integers(0, 1000), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_message_keeps_its_number_whatever_others_there_are(seed, step, rng):
    i, j = grid(12)
    every = randomness.uniforms(seed, "link", step, i, j)
    some = np.array(rng.sample(range(len(i)), rng.randint(1, len(i))))
    assert np.array_equal(randomness.uniforms(seed, "link", step, i[some], j[some]), every[some])
    one = int(some[0])
    assert randomness.uniforms(seed, "link", step, int(i[one]), int(j[one])).tolist() == [every[one]]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_uniforms_are_uniform(seed):
    u = randomness.uniforms(seed, "link", 3, *grid(200))
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    for power in (1, 2, 3, 4):
        exact = 1 / (power + 1)
        error = np.sqrt((1 / (2 * power + 1) - exact**2) / u.size)
        assert abs((u**power).mean() - exact) < 4 * error


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_uniforms_of_related_keys_are_uncorrelated(seed):
    n = 150
    u = np.stack([randomness.uniforms(seed, "link", step, *grid(n)).reshape(n, n) for step in (0, 1)])
    above = np.triu_indices(n, 1)
    pairs = {
        "directions": (u[0][above], u[0].T[above]),
        "rounds": (u[0], u[1]),
        "senders": (u[0][:, :-1], u[0][:, 1:]),
        "receivers": (u[0][:-1], u[0][1:]),
        "seeds": (u[0], randomness.uniforms(seed + 1, "link", 0, *grid(n))),
        "purposes": (u[0], randomness.uniforms(seed, "message loss", 0, *grid(n))),
    }
    for what, (a, b) in pairs.items():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size), what
        assert not (a.ravel() == b.ravel()).any(), what


def test_no_global_generator_is_touched():
    # By their internal state, as drawing from them would move them.
    def states():
        return random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002

    before = states()
    randomness.generator(0, "partition").random(10)
    randomness.uniforms(0, "link", 0, *grid(10))
    randomness.torch_seed(0, "initial model", 1)
    after = states()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])


def test_how_many_indices_a_key_has_matters():
    """numpy's SeedSequence takes (1,) and (1, 0) for one entropy; a key must not."""
    assert randomness.generator(0, "p").random() != randomness.generator(0, "p", 0).random()
    assert randomness.torch_seed(0, "p", 1) != randomness.torch_seed(0, "p", 1, 0)


@given(seeds, purposes, st.integers(0, 2**20), st.integers(1, 13))
@settings(max_examples=30)
def test_words_are_the_quarters_of_the_hash_of_their_key(seed, purpose, step, count):
    samples = [0, 7, 2**40]
    rows = randomness.words(seed, purpose, step, samples, count)
    assert rows.shape == (3, count)
    for sample, row in zip(samples, rows, strict=True):
        # The hash of (sample, 0) is known to 53 bits from the number of the message (sample, 0).
        for j in range(-(-count // 4)):
            top = int(randomness.uniforms(seed, purpose, step, [sample], [j])[0] * 2**53)
            quarters = [(top << 11) >> (16 * k) & 0xFFFF for k in range(4)][: count - 4 * j]
            got = row[4 * j : 4 * j + 4].tolist()
            assert got[1:] == quarters[1:]
            assert got[0] & 0xF800 == quarters[0] & 0xF800


@pytest.mark.parametrize("indices", [(), (0,), (3, 0, 2**32 - 1), (2**32,), (2**40, 1)])
def test_the_words_of_a_key_are_those_that_numpy_makes_of_its_numbers(indices):
    purpose = hashlib.sha256(b"batch order").digest()
    words = [7, *(int.from_bytes(purpose[k : k + 4], "little") for k in (0, 4)), len(indices), *indices]
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words))).random(4)
    np.testing.assert_array_equal(randomness.generator(7, "batch order", *indices).random(4), expected)
