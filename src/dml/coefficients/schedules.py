"""Schedules of s, the coefficient of the softmax, over rounds (``--scheduler``).

Each computes s_t of round t = 0, 1, ... from s_0 = ``--softmax_coeff`` in closed form. Nothing is kept
between rounds, so a resumed run has the same s as an uninterrupted one. Below, eta is ``--eta_min``. To add a
schedule, write a function and a line of ``SCHEDULES``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


def exponential(s: float, t: int, *, gamma: float, eta_min: float) -> float:
    """s_t = sign(s) max(eta, gamma^t |s|): |s| decays, but never below eta.

    0 counts as positive. An eta below 0 has no effect. In the code of arXiv 2505.11760 eta is always 1, and a
    negative s becomes 1 at once.
    """
    return math.copysign(max(eta_min, gamma**t * abs(s)), s)


def cosine(s: float, t: int, *, eta_min: float, T_0: int, T_mult: int) -> float:
    """s_t = eta + (s - eta)(1 + cos(pi T_cur / T_i)) / 2: cosine annealing with warm restarts.

    T_cur rounds have passed since the last restart, and T_i = T_0 T_mult^k rounds lie between the k-th
    restart and the next (arXiv 1608.03983, equation 5; torch's CosineAnnealingWarmRestarts, stepped after
    each round). s and eta may have any sign, and eta may be above s.
    """
    T_cur, T_i = t, T_0
    if T_mult == 1:
        T_cur %= T_0
    else:
        while T_cur >= T_i:
            T_cur, T_i = T_cur - T_i, T_i * T_mult
    return eta_min + (s - eta_min) * (1 + math.cos(math.pi * T_cur / T_i)) / 2


def oscillating(s: float, t: int, *, T_0: int) -> float:
    """s_t = s (-1)^floor(t / T_0): the sign flips every T_0 rounds (code of arXiv 2505.11760)."""
    return -s if t // T_0 % 2 else s


@dataclass(frozen=True)
class Schedule:
    """One schedule of the registry.

    Args:
        at: ``(s, round, **flags) -> s of that round``.
        reads: the flags that it reads.
    """

    at: Callable[..., float]
    reads: frozenset[str]


SCHEDULES: dict[str, Schedule] = {
    "exp": Schedule(exponential, frozenset({"gamma", "eta_min"})),
    "CA": Schedule(cosine, frozenset({"eta_min", "T_0", "T_mult"})),
    "osc": Schedule(oscillating, frozenset({"T_0"})),
}
