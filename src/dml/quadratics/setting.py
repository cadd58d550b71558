"""One cell of the table as a text that can travel to a worker, and one candidate of its learning rate.

Only here do the quadratics meet the registry of algorithms. torch is imported when something is computed, so
that a wrong argument is answered before that.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dml.algorithms import registry
from dml.quadratics.config import QuadraticsConfig
from dml.quadratics.tuning import Candidate, Goal, Try
from dml.topology import Topology
from dml.topology import make as make_topology

if TYPE_CHECKING:
    from torch import Tensor

    from dml.algorithms.rule import Rule
    from dml.quadratics.problem import RandomQuadratics
    from dml.quadratics.table import Cell


@dataclass(frozen=True)
class Setting:
    """An algorithm on a problem.

    Args:
        name: the algorithm.
        graph: a generator, with its number of nodes.
        seed: of the graph, and of what the algorithm draws.
        options: the arguments of :func:`dml.algorithms.build.build`, the algorithm's own among them.
        problem: the arguments of :class:`RandomQuadratics`, but for the graph.
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

    def parts(self) -> "tuple[Topology, RandomQuadratics, Callable[[Tensor], Rule]]":
        """The graph, the losses, and the function that makes the rule from x(0)."""
        from dml.algorithms.build import build
        from dml.quadratics.problem import RandomQuadratics

        topology = make_topology(self.graph, self.seed)
        problem = RandomQuadratics(topology.n, topology=topology, **self.problem)
        return topology, problem, lambda X: build(self.name, topology, X, seed=self.seed, **self.options)

    def cell(self, attempts: Try | None = None) -> "Cell":
        """The cell at its best learning rate; `attempts` runs the candidates, by default this process."""
        from dml.quadratics import table

        topology, problem, rule = self.parts()
        return table.cell(self.name, topology, problem, rule, self.goal, attempts)


def settings(config: QuadraticsConfig) -> Iterator[tuple[str, Setting]]:
    """The cells of a table, line by line: the title of the line, and the setting.

    Raises:
        InputError: there is no such algorithm or graph, or the algorithm does not run on the graph.
    """
    shared: dict[str, Any] = {"d": config.d, "L": config.L, "mu": config.mu, "r0": config.r0}
    shared |= {"noise": config.noise, "seed": config.seed, "placement": config.placement}
    goal = Goal(config.tune, config.target, config.lr, config.max_steps, config.momentum)
    for text in config.algorithms:
        name, _, graph = text.partition("@")
        algorithm = registry.find(name)
        options: dict[str, Any] = {"drop_probability": config.drop_probability, "momentum": config.momentum}
        options["loss_rule"] = registry.check_loss_rule(name, config.loss_rule)
        own = {"edge_weight": config.edge_weight} if algorithm.needs_spectrum else {}
        for n in config.nodes:
            source = _with_nodes(graph, n)
            chosen = registry.options_of(algorithm, own)
            algorithm.admits(make_topology(source, config.seed), chosen, config.seed)
            for zeta2 in config.zeta2:
                problem = shared | {"zeta2": zeta2}
                yield text, Setting(name, source, config.seed, options | own, problem, goal)


def _with_nodes(graph: str, n: int) -> str:
    """A generator's text with its number of nodes: ``torus:k=2`` as ``torus:n=16,k=2``."""
    name, colon, arguments = graph.partition(":")
    return f"{name}:n={n}" + ("," + arguments if colon else "")


def candidate(text: str, lr: float, limit: int) -> Candidate:
    """What one learning rate gives.

    Args:
        text: what :meth:`Setting.to_json` gave.
        lr: the learning rate.
        limit: the most steps.
    """
    from dml.quadratics import table

    problem, rule, goal = _parts(text)
    return table.attempt(problem, rule, goal, lr, limit)


@lru_cache(maxsize=8)
def _parts(text: str) -> "tuple[RandomQuadratics, Callable[[Tensor], Rule], Goal]":
    """What a setting's text describes; a worker gets candidates of the same cells again and again."""
    values = json.loads(text)
    goal = Goal(**values.pop("goal"))
    _, problem, rule = Setting(**values, goal=goal).parts()
    return problem, rule, goal


def here(setting: Setting) -> Try:
    """Runs the candidates of a cell one after another in this process."""
    text = setting.to_json()
    return lambda lrs, limit: [candidate(text, lr, limit) for lr in lrs]
