"""One cell of the table as a text that can travel to a worker, and one candidate of its learning rate."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from dml.algorithms.build import build
from dml.algorithms.rule import Rule
from dml.quadratics import table
from dml.quadratics.problem import RandomQuadratics
from dml.quadratics.table import Cell, Goal
from dml.quadratics.tuning import Candidate, Try
from dml.topology import Topology, make


@dataclass(frozen=True)
class Setting:
    """An algorithm on a problem.

    Args:
        name: of the algorithm.
        graph: a generator, with its number of nodes.
        seed: of the graph, and of what the algorithm draws.
        options: of :func:`dml.algorithms.build.build`, the algorithm's own among them.
        problem: arguments of :class:`RandomQuadratics`, its graph left out.
        goal: what is looked for.
    """

    name: str
    graph: str
    seed: int
    options: Mapping[str, Any]
    problem: Mapping[str, Any]
    goal: Goal

    def to_json(self) -> str:
        """As text, the same for equal settings."""
        return json.dumps(asdict(self), sort_keys=True)

    def parts(self) -> tuple[Topology, RandomQuadratics, Callable[[Tensor], Rule]]:
        """The graph, the losses, and what makes the rule from x(0)."""
        topology = make(self.graph, self.seed)
        problem = RandomQuadratics(topology.n, topology=topology, **self.problem)
        return topology, problem, lambda X: build(self.name, topology, X, seed=self.seed, **self.options)

    def cell(self, attempts: Try) -> Cell:
        """The cell, tuned; its candidates run by ``attempts``."""
        topology, problem, rule = self.parts()
        return table.cell(self.name, topology, problem, rule, self.goal, attempts)


@lru_cache(maxsize=8)
def _parts(text: str) -> tuple[RandomQuadratics, Callable[[Tensor], Rule], Goal]:
    """Those of a setting's text; a worker gets candidates of the same cells again and again."""
    values = json.loads(text)
    goal = Goal(**values.pop("goal"))
    setting = Setting(**values, goal=goal)
    return *setting.parts()[1:], goal


def candidate(text: str, lr: float, limit: int) -> Candidate:
    """What one learning rate gives within so many steps.

    Args:
        text: of :meth:`Setting.to_json`.
        lr: the learning rate.
        limit: steps at most.
    """
    problem, rule, goal = _parts(text)
    return table.attempt(problem, rule, goal, lr, limit)


def here(setting: Setting) -> Try:
    """Runs the candidates of a cell one after another in this process."""
    text = setting.to_json()
    return lambda lrs, limit: [candidate(text, lr, limit) for lr in lrs]
