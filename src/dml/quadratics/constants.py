"""Checks the constants of random quadratics, without torch."""

import math

from dml.errors import InputError

MAX_NUMBERS = 10**8
"""The largest number of entries that the Hessians of all nodes may have; each takes 8 bytes a few times."""


def check_constants(n: int, d: int, L: float, mu: float, zeta2: float, r0: float, noise: float) -> None:
    """Refuses impossible constants; see :class:`dml.quadratics.problem.RandomQuadratics` for their meaning.

    Raises:
        InputError: a constant is impossible; the error names the first one.
    """
    if n < 1:
        raise InputError("n", n, "must be at least 1")
    if d < 1:
        raise InputError("d", d, "must be at least 1")
    if n * d**2 > MAX_NUMBERS:
        right = (
            f"the Hessians of {n} nodes have {n} x {d} x {d} entries; at most {MAX_NUMBERS:.0e} are possible"
        )
        raise InputError("d", d, right)
    if not 0 < L < math.inf:
        raise InputError("L", L, "the largest curvature must be above 0")
    if not 0 < mu <= L:
        raise InputError("mu", mu, f"the least curvature must be above 0 and at most L = {L}")
    if d == 1 and mu != L:
        raise InputError("mu", mu, f"must be L = {L}, because one dimension has one curvature")
    if not 0 <= zeta2 < math.inf:
        raise InputError("zeta2", zeta2, "must be at least 0")
    if n == 1 and zeta2:
        raise InputError("zeta2", zeta2, "must be 0, because a single node cannot differ from others")
    if not 0 <= r0 < math.inf:
        raise InputError("r0", r0, "must be at least 0")
    if not 0 <= noise < math.inf:
        raise InputError("noise", noise, "must be at least 0")
