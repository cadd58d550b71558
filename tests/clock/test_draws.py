"""Numbers that are keyed by counters: the same in any order, and fast one after another."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dml.clock.draws import MOST_BLOCK, Draws, uniforms
from dml.clock.laws import parse

keys = st.integers(0, 2**40)
counts = st.integers(0, 3 * MOST_BLOCK)


@given(st.lists(st.tuples(keys, counts), min_size=1, max_size=30))
def test_the_order_of_the_calls_changes_no_number(asked):
    one_by_one = Draws(3, "hop")
    mixed, alone = [one_by_one(*key) for key in asked], [Draws(3, "hop")(*key) for key in asked]
    assert mixed == alone == uniforms(3, "hop", *np.array(asked).T).tolist()


def test_rising_counts_cross_the_ends_of_blocks():
    draws, n = Draws(0, "hop"), 3 * MOST_BLOCK
    assert [draws(5, k) for k in range(n)] == uniforms(0, "hop", np.full(n, 5), np.arange(n)).tolist()


def test_a_transformed_number_does_not_depend_on_its_block():
    n = 5 * MOST_BLOCK
    for text in ("exponential:1", "lognormal:1,0.5", "pareto:1,2.5"):
        law = parse(text)
        draws = Draws(2, "compute time", law.seconds)
        rising = [draws(4, k) for k in range(n)]
        falling = [draws(4, k) for k in reversed(range(n))]
        assert rising == falling[::-1] == law.seconds(uniforms(2, "compute time", 4, np.arange(n))).tolist()


def test_every_part_of_the_key_counts():
    values = [
        Draws(*head)(*tail)
        for head, tail in [
            ((0, "a"), (1, 0)),
            ((1, "a"), (1, 0)),
            ((0, "b"), (1, 0)),
            ((0, "a"), (0, 1)),
            ((0, "a"), (1, 1)),
        ]
    ]
    assert len(set(values)) == 5
    assert all(0 <= value < 1 for value in values)


def test_a_key_that_is_rarely_used_takes_little_memory():
    draws = Draws(0, "hop")
    for key in range(100):
        draws(key, 0)
    assert sum(len(block) for _, block in draws._blocks.values()) <= 800


def test_a_million_numbers_a_second():
    draws, n, rates = Draws(0, "compute time", parse("exponential:1").seconds), 33, []
    for first in range(0, 9000, 3000):
        begin = time.perf_counter()
        for count in range(first, first + 3000):
            for key in range(n):
                draws(key, count)
        rates.append(3000 * n / (time.perf_counter() - begin))
    print(f"{max(rates):,.0f} numbers a second")
    # A machine that does other work besides has a tenth of the rate of a quiet one.
    assert max(rates) > 300_000
