"""The search for a learning rate: the fastest to a given error, or the highest whose error settles under it.

A search asks for several learning rates at once, through a function from learning rates and a limit of steps
to candidates, so that they can run in any order or in parallel. It never guesses: if it finds no learning
rate, the result is ``not converged``, with the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def confirmed(steps: int) -> int:
    """The number of steps of a run which shows that an error was reached after `steps`.

    The error must stay below for another 4 steps plus a quarter of the steps that led there, because errors
    swing.
    """
    return steps + 4 + steps // 4


@dataclass(frozen=True)
class Goal:
    """What a search looks for.

    Args:
        tune: ``fastest`` or ``plateau``.
        target: the error, f(mean) - f*.
        start: where the search for a learning rate begins.
        max_steps: the most steps of one run.
        momentum: the momentum of the local steps.
    """

    tune: str
    target: float
    start: float
    max_steps: int
    momentum: float = 0.0


Status = Literal["reached", "plateau", "falling", "diverged"]


@dataclass(frozen=True)
class Candidate:
    """What came of one learning rate.

    Args:
        lr: the learning rate.
        status: ``reached`` if the error became as small as asked for; ``plateau`` if it does not fall any
            more; ``falling`` if it still falls after all steps; ``diverged`` if it is above `DIVERGED` times
            the first or not finite.
        steps: the steps to the error asked for, or if it was not reached, all steps of the run.
        level: the mean error of the last eighth of the steps.
    """

    lr: float
    status: Status
    steps: int
    level: float


@dataclass(frozen=True)
class Tuned:
    """The end of a search.

    Args:
        best: the candidate that was found, or None.
        why: what was found, or why nothing was found, in words.
        tried: all candidates in the order in which they were tried.
    """

    best: Candidate | None
    why: str
    tried: tuple[Candidate, ...]

    @property
    def converged(self) -> bool:
        """Whether a learning rate was found."""
        return self.best is not None


Try = Callable[[Sequence[float], int], list[Candidate]]
"""Runs some learning rates, each for at most the given number of steps."""

DIVERGED = 1e3
"""A run whose error is larger than this many times the first has diverged."""

FLAT = 0.02
"""The largest relative change of the error, from one eighth of the steps to the next, on a plateau."""


def judge(errors: NDArray[np.float64], lr: float, target: float) -> Candidate:
    """What a run shows.

    Args:
        errors: the errors before the first step and after each, [steps + 1].
        lr: its learning rate.
        target: the error asked for.
    """
    steps = len(errors) - 1
    eighth = max(1, len(errors) // 8)
    level = float(np.mean(errors[-eighth:]))
    if not np.isfinite(level) or errors[-1] > DIVERGED * max(errors[0], target):
        return Candidate(lr, "diverged", steps, level)
    above = np.flatnonzero(~(errors < target))
    # The gaps between errors above the target, and the one after the last of them.
    for start, end in zip([0, *(above + 1)], [*above, len(errors)], strict=True):
        if end >= confirmed(start):
            return Candidate(lr, "reached", int(start), level)
    before = float(np.mean(errors[-2 * eighth : -eighth]))
    flat = level > (1 - FLAT) * before
    return Candidate(lr, "plateau" if flat else "falling", steps, level)


def finished(target: float, first: float) -> Callable[[float], bool]:
    """Says, error by error, when a run may end: the target has been reached, or the run has diverged."""
    step, start = 0, 1

    def stop(error: float) -> bool:
        nonlocal step, start
        step += 1
        if not error < target:
            start = step + 1
        return step + 1 >= confirmed(start) or not error <= DIVERGED * max(first, target)

    return stop


def fastest(attempt: Try, target: float, start: float, max_steps: int, halvings: int = 24) -> Tuned:
    """The learning rate that reaches an error in the fewest steps.

    The search halves the learning rate, from `start`, until one reaches the error and the next two are
    slower. Then it tries four learning rates around the best, three times, closer each time. No candidate
    takes more steps than the best so far needed.

    Args:
        attempt: runs candidates.
        target: the error.
        start: the highest learning rate.
        max_steps: the most steps of a candidate.
        halvings: the most learning rates of the first part.
    """
    tried: list[Candidate] = []
    best: Candidate | None = None
    lr, limit, slower = start, max_steps, 0
    for _ in range(halvings):
        (new,) = attempt([lr], limit)
        tried.append(new)
        if new.status == "reached" and (best is None or _faster(new, best)):
            best, limit, slower = new, confirmed(new.steps), 0
        elif best is not None:
            slower += 1
            if slower == 2:
                break
        elif new.status == "falling" and new.level > target and _slower_than(new, tried):
            break
        lr /= 2
    if best is None:
        return Tuned(None, _why_not(tried, target, max_steps), tuple(tried))
    ratio = 2.0
    for _ in range(3):
        # The exponents -1 and 1 are the neighbours, which were tried before.
        exponents = [-2 / 3, -1 / 3, 1 / 3, 2 / 3]
        for new in attempt([best.lr * ratio**e for e in exponents], confirmed(best.steps)):
            tried.append(new)
            best = new if _faster(new, best) else best
        ratio **= 1 / 3
    return Tuned(best, f"{best.steps} steps to {target:g} at lr {best.lr:.4g}", tuple(tried))


def _faster(new: Candidate, best: Candidate) -> bool:
    return new.status == "reached" and (new.steps, new.level) < (best.steps, best.level)


def _slower_than(new: Candidate, tried: Sequence[Candidate]) -> bool:
    """Whether its error still falls, but more slowly than with the learning rate before: it is too low."""
    before = tried[-2] if len(tried) > 1 else None
    return before is not None and before.status == "falling" and new.level > before.level


def plateau(attempt: Try, target: float, start: float, max_steps: int, rounds: int = 30) -> Tuned:
    """The highest learning rate whose error settles at or below a level.

    The search bisects the logarithm between a learning rate that settles and one that is too high, until the
    level is in (target / 1.1, target] or the two differ by less than 1 %.

    Args:
        attempt: runs candidates, each for all of its steps.
        target: the level.
        start: the first learning rate.
        max_steps: the steps of a candidate.
        rounds: the most candidates.
    """
    tried: list[Candidate] = []
    best: Candidate | None = None
    low: float | None = None
    high: float | None = None
    lr = start
    for _ in range(rounds):
        (new,) = attempt([lr], max_steps)
        tried.append(new)
        settled = new.status != "diverged" and new.level <= target
        if settled:
            best = new
        if settled and new.level > target / 1.1:
            break
        if settled or new.status == "falling":
            # An error that still falls would need a higher learning rate to settle within these steps.
            low = lr
        else:
            high = lr
        if low is not None and high is not None and high / low < 1.01:
            break
        if high is None:
            lr *= 2
        elif low is None:
            lr /= 2
        else:
            lr = float(np.sqrt(low * high))
    if best is None:
        return Tuned(None, _why_not(tried, target, max_steps), tuple(tried))
    return Tuned(best, f"settles at {best.level:.3g} at lr {best.lr:.4g}", tuple(tried))


def _why_not(tried: Sequence[Candidate], target: float, max_steps: int) -> str:
    """Why no learning rate was found."""
    finite = [c for c in tried if c.status != "diverged"]
    between = f"lr from {min(c.lr for c in tried):.3g} to {max(c.lr for c in tried):.3g}"
    if not finite:
        return f"not converged: diverges at every {between}"
    best = min(finite, key=lambda c: c.level)
    what = "stalls" if best.status == "plateau" else "still falls"
    return (
        f"not converged: at best {what} at {best.level:.2g}, not {target:g}, in {max_steps} steps ({between})"
    )
