"""Apportionment: whole numbers with a given sum, in proportion to shares."""

import numpy as np
from numpy.typing import NDArray


def largest_remainder(quotas: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to quotas, with a given sum; ties go to the lower index, [k].

    Args:
        quotas: not negative, with a positive sum, [k].
        total: the sum of the result.
    """
    exact = quotas / quotas.sum() * total
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    # Rounding may leave the sum of the floors off by one in either direction.
    short = total - int(whole.sum())
    # Remainders that differ by rounding alone are ties.
    order = np.argsort(-np.round(exact - whole, 9), kind="stable")
    whole[order[:short] if short >= 0 else order[short:]] += np.sign(short)
    return whole
