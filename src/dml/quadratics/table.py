"""A table of the steps to a given error, by algorithm, number of nodes and heterogeneity.

The learning rate is tuned for each cell, as in figure 2 of Vogels et al. (2021).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dml.algorithms.rule import Rule
from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.quadratics import tuning
from dml.quadratics.problem import RandomQuadratics, run
from dml.quadratics.tuning import Candidate, Goal, Try, Tuned
from dml.topology import Topology

LOWEST = 1e-14
"""The smallest error in a search for a plateau: float64 does not resolve smaller ones."""


@dataclass(frozen=True)
class Cell:
    """One algorithm on one problem.

    Args:
        name: the algorithm.
        topology: the source of the graph.
        n: the number of nodes.
        zeta2: the heterogeneity.
        found: the result of the search.
        models: the mean number of vectors that a node sends per step.
    """

    name: str
    topology: str
    n: int
    zeta2: float
    found: Tuned
    models: float

    def record(self) -> dict[str, Any]:
        """The cell as JSON values."""
        found = asdict(self.found) | {"converged": self.found.converged}
        return asdict(self) | {"found": found}


def attempt(
    problem: RandomQuadratics, rule: Callable[[Tensor], Rule], goal: Goal, lr: float, limit: int
) -> Candidate:
    """Runs one learning rate for at most `limit` steps."""
    ends = tuning.finished(goal.target if goal.tune == "fastest" else LOWEST, problem.error(problem.start()))
    trace = run(problem, rule, lr, limit, goal.momentum, ends)
    return tuning.judge(trace.errors, lr, goal.target)


def cell(
    name: str,
    topology: Topology,
    problem: RandomQuadratics,
    rule: Callable[[Tensor], Rule],
    goal: Goal,
    attempts: Try | None = None,
) -> Cell:
    """Finds the best learning rate of one algorithm on one problem.

    Args:
        name: the algorithm.
        topology: the graph.
        problem: the losses.
        rule: makes the algorithm from x(0).
        goal: the goal of the search.
        attempts: runs the candidates; by default they run one after another in this process.
    """
    X = problem.start()
    first = rule(X)
    # Averaging over old models slows an algorithm down, so its learning rate may be higher by that factor.
    start = goal.start * first.lr_factor
    first.before(X, 0, np.ones(topology.n, bool))
    first.after(X, 0, start)
    sent = first.traffic().sent.sum()
    search = tuning.fastest if goal.tune == "fastest" else tuning.plateau
    here: Try = lambda lrs, limit: [attempt(problem, rule, goal, lr, limit) for lr in lrs]  # noqa: E731
    found = search(attempts or here, goal.target, start, goal.max_steps)
    vectors = sent / (BYTES_PER_NUMBER * problem.d * topology.n)
    return Cell(name, topology.source, topology.n, problem.zeta2, found, vectors)


def text(cells: Sequence[Cell], titles: Sequence[str]) -> str:
    """The table as text: a line per algorithm and graph, a column per n and zeta^2, and notes on failures.

    Args:
        cells: the cells of all lines and columns.
        titles: the title of each cell's line.
    """
    columns = sorted({(c.zeta2, c.n) for c in cells})
    lines: dict[str, dict[tuple[float, int], Cell]] = {}
    for title, c in zip(titles, cells, strict=True):
        lines.setdefault(title, {})[c.zeta2, c.n] = c
    head = ["steps", *(f"n={n} zeta2={zeta2:g}" for zeta2, n in columns)]
    rows = [head]
    for title, row in lines.items():
        rows.append([title, *(_steps(row.get(column)) for column in columns)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    table = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    notes = [
        f"{title}, n={c.n}, zeta2={c.zeta2:g}: {c.found.why}"
        for title, c in zip(titles, cells, strict=True)
        if not c.found.converged
    ]
    return "\n".join(line.rstrip() for line in [*table, *([""] if notes else []), *notes])


def _steps(c: Cell | None) -> str:
    if c is None:
        return ""
    return str(c.found.best.steps) if c.found.best else "not converged"
