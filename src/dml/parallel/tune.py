"""Finds the best learning rate of each combination of a sweep by running experiments.

A search begins at the combination's own learning rate and moves in steps of a factor: it tries the neighbours
of the best learning rate so far, two on each side, until none is better. Every candidate is an experiment
with its own result file, so a search can be resumed, and a wider search reuses the old candidates.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dml.files import beside
from dml.parallel.criterion import score
from dml.plan import Plan, make_plan
from dml.results import reader
from dml.results.status import CUT_SHORT

FACTOR = 2.0
"""The factor between neighbouring learning rates."""

MOST_STEPS = 12
"""The largest number of steps up or down from the first learning rate."""

SEARCHED = ("seed", "lr")
"""The keys that vary within a search; the others define the combination."""

PLACES = ("out_dir", "threads")
"""The keys that say where an experiment runs and do not change its numbers."""


@dataclass
class Search:
    """The search of one combination.

    Args:
        values: the values of the combination by key, without those of `SEARCHED`.
        plans: its experiment for each seed, at the first learning rate.
        scores: the score of each step that was tried: the metric's mean over the seeds, or -inf if one of
            them has diverged or stalled. Step k has the first learning rate times `FACTOR` to the power of k.
        open: the steps that are being tried.
    """

    values: dict[str, Any]
    plans: list[Plan]
    scores: dict[int, float] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def lr(self, step: int) -> float:
        """The learning rate of a step, rounded to four digits unless the step is 0."""
        first = self.plans[0].config.training.lr
        return float(f"{first * FACTOR**step:.4g}") if step else first

    @property
    def best(self) -> int | None:
        """The step with the best score, the one nearest to 0 if there are several; None if none is finite."""
        finite = {step: score for step, score in self.scores.items() if math.isfinite(score)}
        # Ties go to the nearest step, so that a search does not wander over a plateau.
        return max(finite, key=lambda step: (finite[step], -abs(step), -step)) if finite else None

    def wanted(self) -> list[int]:
        """The steps to try next; none if the search has ended."""
        if not self.scores:
            return [-1, 0, 1]
        best = self.best
        # If none is finite, try lower. Otherwise try two on each side, because the scores of runs are noisy.
        near = [min(self.scores) - 1] if best is None else [best + step for step in (-2, -1, 1, 2)]
        return [step for step in near if step not in self.scores and abs(step) <= MOST_STEPS]

    def at(self, step: int) -> list[Plan]:
        """The experiments of a step, one per seed."""
        return [_with_lr(plan, self.lr(step)) for plan in self.plans]

    @property
    def found(self) -> str:
        """The result of the search, in words."""
        if self.open:
            waits = " or ".join(f"{self.lr(step):g}" for step in sorted(self.open))
            so_far = "" if self.best is None else f"; best so far lr {self.lr(self.best):g}"
            return f"not ended: an experiment at lr {waits} failed{so_far}"
        if self.best is None:
            tried = f"from {self.lr(min(self.scores)):g} to {self.lr(max(self.scores)):g}"
            return f"not converged: diverges or stalls at every lr {tried}"
        edge = ", at the edge of the search" if abs(self.best) == MOST_STEPS else ""
        return f"lr {self.lr(self.best):g}: {self.scores[self.best]:.3f}{edge}"


class Tuner:
    """All searches of a sweep: names the experiments to run, and reads the results of those that are done.

    Args:
        combinations: the values of each combination, and its experiment (`expansion.combinations`).
        metric: the criterion to maximise, such as ``worst_val`` (:mod:`dml.parallel.criterion`).
    """

    def __init__(self, combinations: Iterable[tuple[Mapping[str, Any], Plan]], metric: str) -> None:
        self._metric = metric
        searches: dict[str, Search] = {}
        for values, plan in combinations:
            own = {key: value for key, value in values.items() if key not in (*SEARCHED, *PLACES)}
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
        """The experiments that follow on one that is done."""
        found = reader.attributes(plan.result)
        cut_short = found["status"] in CUT_SHORT
        self._done[plan.identity.id] = -math.inf if cut_short else score(plan.result, found, self._metric)
        return [new for search in self._asked.get(plan.identity.id, []) for new in self._advance(search)]

    def _advance(self, search: Search) -> list[Plan]:
        """Records the scores of steps that are done; once all are, returns the next experiments to run."""
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
                # Two combinations may contain the same experiment, which is run once.
                if plan.identity.id not in self._asked:
                    new.append(plan)
                self._asked.setdefault(plan.identity.id, []).append(search)
            if new:
                return new

    def report(self) -> list[str]:
        """One line per combination: its differences from the others, and the result of its search."""
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
        """Writes a sweep file: each combination with its best learning rate, or a comment if it has none.

        A combination has none if an experiment failed, because the best so far may be far from the optimum.
        """
        import yaml

        lines = [f"# Learning rates of the best {self._metric}, found by bd_scheduler.py --tune_lr."]
        for search, told in zip(self.searches, self.report(), strict=True):
            lines.append(f"# {told}")
            if search.best is None or search.open:
                continue
            seeds = sorted({plan.config.run.seed for plan in search.plans})
            # Lists in a sweep file are crossed, so a value that is itself a list must be within another.
            values = {k: [list(v)] if isinstance(v, list | tuple) else v for k, v in search.values.items()}
            text = yaml.safe_dump(values | {"lr": search.lr(search.best), "seed": seeds}, sort_keys=False)
            lines += [("  " if i else "- ") + line for i, line in enumerate(text.splitlines())]
        with beside(path) as made:
            made.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with_lr(plan: Plan, lr: float) -> Plan:
    training = plan.config.training.model_copy(update={"lr": lr})
    return make_plan(plan.config.model_copy(update={"training": training}), plan.topology)
