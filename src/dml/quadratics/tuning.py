"""Learning rates found by trying: the fastest to a given error, or the highest that a plateau allows.

A tuner asks for several learning rates at once, through a function from learning rates and a limit of
steps to candidates, so that they may be run in any order or in parallel. It never guesses: what it could
not find is ``not converged``, with the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def confirmed(steps: int) -> int:
    """How many steps a run needs to show that an error was reached after so many.

    It must stay below for 4 steps and a quarter of those that led there: errors swing.
    """
    return steps + 4 + steps // 4


Status = Literal["reached", "plateau", "falling", "diverged"]


@dataclass(frozen=True)
class Candidate:
    """What one learning rate gave.

    Args:
        lr: the learning rate.
        status: ``reached`` the error asked for; ``plateau``, it no longer falls; ``falling`` still after
            all steps; ``diverged``, it is above ``DIVERGED`` times the first or not finite.
        steps: to the error asked for, where it was reached; else those that were made.
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
        best: the candidate that was looked for; None where there is none.
        why: what was found, or why nothing was, in a sentence.
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
"""Runs learning rates, each for at most so many steps."""

DIVERGED = 1e3
"""An error so many times the first is not waited for."""

FLAT = 0.02
"""A plateau's error changes by no more, in proportion, between two eighths of the steps."""


def judge(errors: NDArray[np.float64], lr: float, target: float) -> Candidate:
    """What a run shows: its errors before the first and after each step, [steps + 1]."""
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
    """Tells, error by error, when a run for ``fastest`` may end: it is reached, or has diverged."""
    step, start = 0, 1

    def stop(error: float) -> bool:
        nonlocal step, start
        step += 1
        if not error < target:
            start = step + 1
        return step + 1 >= confirmed(start) or not error <= DIVERGED * max(first, target)

    return stop


def fastest(attempt: Try, target: float, start: float, max_steps: int, halvings: int = 24) -> Tuned:
    """The learning rate that reaches an error in fewest steps.

    From ``start``, by halves, until one reaches the error and the next two are slower; then three times four
    learning rates around the best, ever closer. A candidate has as many steps as the best so far.

    Args:
        attempt: runs candidates.
        target: the error.
        start: the highest learning rate.
        max_steps: of a candidate.
        halvings: how far down to look.
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
        # The two neighbours were tried already.
        exponents = [-2 / 3, -1 / 3, 1 / 3, 2 / 3]
        for new in attempt([best.lr * ratio**e for e in exponents], confirmed(best.steps)):
            tried.append(new)
            best = new if _faster(new, best) else best
        ratio **= 1 / 3
    return Tuned(best, f"{best.steps} steps to {target:g} at lr {best.lr:.4g}", tuple(tried))


def _faster(new: Candidate, best: Candidate) -> bool:
    return new.status == "reached" and (new.steps, new.level) < (best.steps, best.level)


def _slower_than(new: Candidate, tried: Sequence[Candidate]) -> bool:
    """It still falls, at a higher error than the learning rate before after as many steps: too low."""
    before = tried[-2] if len(tried) > 1 else None
    return before is not None and before.status == "falling" and new.level > before.level


def plateau(attempt: Try, target: float, start: float, max_steps: int, rounds: int = 30) -> Tuned:
    """The highest learning rate whose error settles at or below a level.

    Bisection of the logarithm between a learning rate that settles and one that is too high, until the level
    is in (target / 1.1, target] or the two differ by less than 1 %.

    Args:
        attempt: runs candidates, each for all of its steps.
        target: the level.
        start: where to begin.
        max_steps: of a candidate.
        rounds: candidates at most.
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
            # One that still falls needs a higher learning rate, if it is to be there in time.
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
    between = f"lr {min(c.lr for c in tried):.3g} .. {max(c.lr for c in tried):.3g}"
    if not finite:
        return f"not converged: diverges at every {between}"
    best = min(finite, key=lambda c: c.level)
    what = "stalls" if best.status == "plateau" else "still falls"
    return (
        f"not converged: at best {what} at {best.level:.2g}, not {target:g}, in {max_steps} steps ({between})"
    )
