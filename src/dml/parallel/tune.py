"""The best learning rate of each combination of a sweep, found by running experiments.

From the combination's own learning rate, in steps of a factor: whichever is best so far has its neighbours
tried, two to each side, until none is better. Every candidate is an experiment with a file of its own, so a
search that was stopped goes on, and a wider one finds the old candidates there.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dml import plan as planning
from dml.plan import Plan
from dml.results import files, reader

FACTOR = 2.0
"""Between learning rates."""

MOST_STEPS = 12
"""Factors up or down from the first learning rate at which a search ends."""

SEARCHED = ("seed", "lr")
"""Keys that a search is over: the others make a combination."""

NOT_NUMBERS = ("out_dir", "threads")


@dataclass
class Search:
    """The search of one combination.

    Args:
        values: of the combination, by key, without ``SEARCHED``.
        plans: its experiment for each seed, at the first learning rate.
        scores: of each number of factors that was tried: the metric's mean over the seeds, -inf if one of
            them has diverged.
        open: steps that are being tried.
    """

    values: dict[str, Any]
    plans: list[Plan]
    scores: dict[int, float] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def lr(self, step: int) -> float:
        """The learning rate so many factors from the first, to four digits; the first as it was given."""
        first = self.plans[0].config.training.lr
        return float(f"{first * FACTOR**step:.4g}") if step else first

    @property
    def best(self) -> int | None:
        """The step of the best score, of several the nearest to the first; None where all have diverged."""
        finite = {step: score for step, score in self.scores.items() if math.isfinite(score)}
        # So a search ends where its neighbours are no better, and does not wander over a plateau.
        return max(finite, key=lambda step: (finite[step], -abs(step), -step)) if finite else None

    def wanted(self) -> list[int]:
        """Steps to try next; none when it has ended."""
        if not self.scores:
            return [-1, 0, 1]
        best = self.best
        # Where all diverge, lower. Two to each side, as scores of single runs are noisy.
        near = [min(self.scores) - 1] if best is None else [best + step for step in (-2, -1, 1, 2)]
        return [step for step in near if step not in self.scores and abs(step) <= MOST_STEPS]

    def at(self, step: int) -> list[Plan]:
        """The experiments of a step, one a seed."""
        return [_with_lr(plan, self.lr(step)) for plan in self.plans]

    @property
    def found(self) -> str:
        """How it ended, in words."""
        if self.open:
            waits = " or ".join(f"{self.lr(step):g}" for step in sorted(self.open))
            so_far = "" if self.best is None else f"; best so far lr {self.lr(self.best):g}"
            return f"not ended: an experiment at lr {waits} failed{so_far}"
        if self.best is None:
            tried = f"{self.lr(min(self.scores)):g} .. {self.lr(max(self.scores)):g}"
            return f"not converged: diverges at every lr {tried}"
        edge = ", at the edge of the search" if abs(self.best) == MOST_STEPS else ""
        return f"lr {self.lr(self.best):g}: {self.scores[self.best]:.3f}{edge}"


class Tuner:
    """All searches of a sweep; it names the experiments to run, and looks at those that are done.

    Args:
        combinations: the values of each combination and its experiment (``sweep.combinations``).
        metric: the attribute of a result file that is to be high, such as ``worst_test``.
    """

    def __init__(self, combinations: Iterable[tuple[Mapping[str, Any], Plan]], metric: str) -> None:
        self._metric = metric
        searches: dict[str, Search] = {}
        for values, plan in combinations:
            own = {key: value for key, value in values.items() if key not in (*SEARCHED, *NOT_NUMBERS)}
            key = json.dumps(own, sort_keys=True, default=str)
            search = searches.setdefault(key, Search(own, []))
            if plan.identity.id not in {p.identity.id for p in search.plans}:
                search.plans.append(plan)
        self.searches = list(searches.values())
        self._asked: dict[str, list[Search]] = {}
        self._done: dict[str, float] = {}

    def first(self) -> list[Plan]:
        """The experiments to begin with."""
        return [plan for search in self.searches for plan in self._advance(search)]

    def follow(self, plan: Plan) -> list[Plan]:
        """What to run after an experiment that is done."""
        found = reader.attributes(plan.result)
        diverged = found["status"] == "diverged"
        self._done[plan.identity.id] = -math.inf if diverged else float(found[self._metric])
        return [new for search in self._asked.get(plan.identity.id, []) for new in self._advance(search)]

    def _advance(self, search: Search) -> list[Plan]:
        """Takes in what is done, and names what is to be run next, once all of the last steps are done."""
        while True:
            for step in sorted(search.open):
                scores = [self._done.get(plan.identity.id) for plan in search.at(step)]
                known = [score for score in scores if score is not None]
                if len(known) == len(scores):
                    search.scores[step] = sum(known) / len(known)
                    search.open.remove(step)
            if search.open:
                return []
            search.open.update(search.wanted())
            if not search.open:
                return []
            new = []
            for plan in (plan for step in sorted(search.open) for plan in search.at(step)):
                # Two combinations may hold the same experiment: it is run once.
                if plan.identity.id not in self._asked:
                    new.append(plan)
                self._asked.setdefault(plan.identity.id, []).append(search)
            if new:
                return new

    def report(self) -> list[str]:
        """A line a combination: what it differs in from the others, and what was found."""
        differing = [
            key
            for key in dict.fromkeys(key for search in self.searches for key in search.values)
            if len({str(search.values.get(key)) for search in self.searches}) > 1
        ]
        lines = []
        for search in self.searches:
            told = [f"{key} {search.values[key]}" for key in differing if key in search.values]
            lines.append(", ".join([*told, search.found]))
        return lines

    def write(self, path: Path) -> None:
        """Writes a sweep's file: each combination with its best learning rate; those without are told.

        One whose search has not ended, as an experiment failed, is without: its best so far may be far off.
        """
        import yaml

        lines = [f"# Learning rates of the best {self._metric}, found by bd_scheduler.py --tune_lr."]
        for search, told in zip(self.searches, self.report(), strict=True):
            lines.append(f"# {told}")
            if search.best is None or search.open:
                continue
            seeds = sorted({plan.config.run.seed for plan in search.plans})
            # In a sweep's file a list is crossed; what is a list itself stands in another.
            values = {k: [list(v)] if isinstance(v, list | tuple) else v for k, v in search.values.items()}
            text = yaml.safe_dump(values | {"lr": search.lr(search.best), "seed": seeds}, sort_keys=False)
            lines += [("  " if i else "- ") + line for i, line in enumerate(text.splitlines())]
        with files.beside(path) as made:
            made.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with_lr(plan: Plan, lr: float) -> Plan:
    training = plan.config.training.model_copy(update={"lr": lr})
    return planning.make(plan.config.model_copy(update={"training": training}), plan.topology)
