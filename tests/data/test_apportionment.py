"""Apportionment, held against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.data.apportionment import largest_remainder


def exact_largest_remainder(quotas, total):
    """In fractions: whole parts first, then one each to the largest remainders, ties to the lower index."""
    whole, rest = [], []
    for quota in quotas:
        exact = Fraction(quota) * total / sum(map(Fraction, quotas))
        whole.append(exact.numerator // exact.denominator)
        rest.append(exact - whole[-1])
    for k in sorted(range(len(quotas)), key=lambda k: (-rest[k], k))[: total - sum(whole)]:
        whole[k] += 1
    return whole


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12).filter(any), st.integers(0, 3000))
@settings(max_examples=200)
def test_largest_remainder_equals_exact_fractions(quotas, total):
    result = largest_remainder(np.array(quotas, float), total)
    assert result.tolist() == exact_largest_remainder(quotas, total)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda q: sum(q) > 1e-6), st.integers(0, 10**6)
)
@settings(max_examples=100)
def test_largest_remainder_is_whole_near_the_share_and_in_order(quotas, total):
    q = np.array(quotas)
    result = largest_remainder(q, total)
    assert result.sum() == total
    assert (result >= 0).all()
    assert (np.abs(result - q / q.sum() * total) < 1 + 1e-8).all()
    ordered = result[np.argsort(q, kind="stable")]
    # Quotas that are the same but for rounding may stand one apart.
    assert (np.diff(ordered) >= -1).all()


@pytest.mark.parametrize(
    ("quotas", "total", "expected"),
    [
        ([1, 1, 1, 1], 2, [1, 1, 0, 0]),
        ([0.1, 0.2, 0.7], 10, [1, 2, 7]),
        ([1, 1, 1], 3, [1, 1, 1]),
        ([5, 3, 1], 0, [0, 0, 0]),
        ([0, 0, 2], 5, [0, 0, 5]),
        # 15.4, 2.2 and 4.4: the remainders of the first and the last differ by rounding alone.
        ([7, 1, 2], 22, [16, 2, 4]),
    ],
)
def test_largest_remainder_by_hand(quotas, total, expected):
    assert largest_remainder(np.array(quotas, float), total).tolist() == expected
