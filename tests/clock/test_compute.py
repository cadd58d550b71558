"""The time of updates: one draw each, times steps, times the node's factor."""

import numpy as np
import pytest

from dml.clock.compute import ComputeTimes
from dml.clock.laws import parse
from dml.clock.slow_nodes import factors_of
from dml.clock.slow_nodes import parse as parse_factors
from dml.errors import InputError


def test_a_constant_law_counts_steps_and_factors():
    times = ComputeTimes(parse("constant:0.5"), factors_of(4, ("2@3",)), seed=0)
    assert [times(node, 7, 5) for node in range(4)] == [2.5, 2.5, 7.5, 2.5]


def test_an_update_is_one_draw_whatever_its_steps():
    times = ComputeTimes(parse("exponential:1"), np.ones(3), seed=1)
    assert times(1, 4, 10) == 10 * times(1, 4, 1)
    assert len({times(node, number, 1) for node in range(3) for number in range(5)}) == 15


def test_slow_nodes_draw_the_numbers_that_they_would_draw_anyway():
    law = parse("lognormal:1,0.5")
    usual, slow = (ComputeTimes(law, factors_of(3, texts), 5) for texts in ((), ("1@4",)))
    for number in range(6):
        assert slow(1, number, 2) == pytest.approx(4 * usual(1, number, 2))
        assert slow(0, number, 2) == usual(0, number, 2)


@pytest.mark.parametrize("law", ["constant:0.1", "exponential:2", "lognormal:1,0.5", "pareto:1,2.5"])
def test_many_at_once_are_the_same_bits(law):
    rng = np.random.default_rng(0)
    nodes, numbers, steps = rng.integers(0, [[5], [900], [9]], (3, 300))
    times = ComputeTimes(parse(law), factors_of(5, ("0@0.3", "4@7")), seed=3)
    each = [times(*one) for one in zip(nodes.tolist(), numbers.tolist(), steps.tolist(), strict=True)]
    assert times.many(nodes, numbers, steps).tolist() == each


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3", "is not of the form NODE@FACTOR"),
        ("a@2", "is not of the form NODE@FACTOR"),
        ("-1@2", "is not of the form NODE@FACTOR"),
        ("3@", "FACTOR must be a number"),
        ("3@0", "FACTOR must be at least 1e-30"),
        ("3@-2", "FACTOR must be at least 1e-30"),
        ("3@nan", "FACTOR must be at least 1e-30"),
        ("3@1e99", "at most 1e30"),
        (f"{10**30}@2", "NODE must be at most"),
    ],
)
def test_impossible_factors_are_refused_in_words(text, right):
    with pytest.raises(ValueError, match=right):
        parse_factors((text,))


def test_a_node_has_one_factor():
    with pytest.raises(ValueError, match="node 3 is named twice"):
        parse_factors(("3@2", "03@2"))


def test_a_slow_node_is_one_of_the_graph():
    with pytest.raises(InputError, match="the graph has the nodes 0 to 3, and no 4"):
        factors_of(4, ("4@2",))
