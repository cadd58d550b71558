"""Schedules of s: the coefficient of the softmax over rounds (``--scheduler``).

Each gives s_t of round t = 0, 1, .. from s_0 = ``--softmax_coeff`` in closed form. Nothing is kept between
rounds, so a run that goes on after a stop has the s that it would have had. ``--eta_min`` is written eta.
A new schedule is one function and one line of ``SCHEDULES``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


def exponential(s: float, t: int, *, gamma: float, eta_min: float) -> float:
    """s_t = sign(s) max(eta, gamma^t |s|): |s| decays, but never under eta (arXiv 2505.11760, their code).

    A negative s keeps its sign and decays in size likewise; 0 counts as positive; an eta below 0 bounds
    nothing.
    """
    return math.copysign(max(eta_min, gamma**t * abs(s)), s)


def cosine(s: float, t: int, *, eta_min: float, T_0: int, T_mult: int) -> float:
    """s_t = eta + (s - eta)(1 + cos(pi T_cur / T_i)) / 2: cosine annealing with warm restarts.

    T_cur rounds have passed since the last restart, and T_i = T_0 T_mult^k lie between the k-th restart and
    the next (arXiv 1608.03983, equation 5; torch's CosineAnnealingWarmRestarts, stepped after each round).
    s and eta may have any sign, and eta may be above s.
    """
    T_cur, T_i = t, T_0
    if T_mult == 1:
        T_cur %= T_0
    else:
        while T_cur >= T_i:
            T_cur, T_i = T_cur - T_i, T_i * T_mult
    return eta_min + (s - eta_min) * (1 + math.cos(math.pi * T_cur / T_i)) / 2


def oscillating(s: float, t: int, *, T_0: int) -> float:
    """s_t = s (-1)^floor(t / T_0): the sign flips every T_0 rounds (arXiv 2505.11760, their code)."""
    return -s if t // T_0 % 2 else s


@dataclass(frozen=True)
class Schedule:
    """One schedule of the registry.

    Args:
        at: the function, of s, the round, and by name the flags that it reads.
        reads: those flags.
    """

    at: Callable[..., float]
    reads: frozenset[str]


SCHEDULES: dict[str, Schedule] = {
    "exp": Schedule(exponential, frozenset({"gamma", "eta_min"})),
    "CA": Schedule(cosine, frozenset({"eta_min", "T_0", "T_mult"})),
    "osc": Schedule(oscillating, frozenset({"T_0"})),
}
