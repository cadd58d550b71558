"""The setting of one cell of the table, which can be sent to a worker, and one candidate of its search.

Of the quadratics, only this module uses the registry of algorithms. torch is imported only when something is
computed, so that a wrong argument is refused without the delay.
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
        graph: a generator of the graph, including its number of nodes.
        seed: the seed of the graph and of the algorithm's random numbers.
        options: the arguments of :func:`dml.algorithms.build.build`, including the algorithm's own options.
        problem: the arguments of :class:`RandomQuadratics`, without the graph.
        goal: the goal of the search.
    """

    name: str
    graph: str
    seed: int
    options: Mapping[str, Any]
    problem: Mapping[str, Any]
    goal: Goal

    def to_json(self) -> str:
        """The setting as text, which is the same for equal settings."""
        return json.dumps(asdict(self), sort_keys=True)

    def parts(self) -> "tuple[Topology, RandomQuadratics, Callable[[Tensor], Rule]]":
        """The graph, the losses, and the function that makes the rule from x(0)."""
        from dml.algorithms.build import build
        from dml.quadratics.problem import RandomQuadratics

        topology = make_topology(self.graph, self.seed)
        problem = RandomQuadratics(topology.n, topology=topology, **self.problem)
        return topology, problem, lambda X: build(self.name, topology, X, seed=self.seed, **self.options)

    def cell(self, attempts: Try | None = None) -> "Cell":
        """The cell at its best learning rate; `attempts` runs the candidates (default: in this process)."""
        from dml.quadratics import table

        topology, problem, rule = self.parts()
        return table.cell(self.name, topology, problem, rule, self.goal, attempts)


def settings(config: QuadraticsConfig) -> Iterator[tuple[str, Setting]]:
    """The cells of a table, line by line: the title of the line, and the setting.

    Raises:
        InputError: an algorithm or graph does not exist, or the algorithm does not run on the graph.
    """
    shared: dict[str, Any] = {"d": config.d, "L": config.L, "mu": config.mu, "r0": config.r0}
    shared |= {"noise": config.noise, "seed": config.seed, "placement": config.placement}
    goal = Goal(config.tune, config.target, config.lr, config.max_steps, config.momentum)
    for text in config.algorithms:
        name, _, graph = text.partition("@")
        algorithm = registry.find(name)
        algorithm.check_alone(name)
        options: dict[str, Any] = {"drop_probability": config.drop_probability, "momentum": config.momentum}
        options["loss_rule"] = registry.check_loss_rule(name, config.loss_rule) or None
        own = {"edge_weight": config.edge_weight} if algorithm.needs_spectrum else {}
        for n in config.nodes:
            source = _with_nodes(graph, n)
            chosen = registry.options_of(algorithm, own)
            algorithm.admits(make_topology(source, config.seed), chosen, config.seed)
            for zeta2 in config.zeta2:
                problem = shared | {"zeta2": zeta2}
                yield text, Setting(name, source, config.seed, options | own, problem, goal)


def _with_nodes(graph: str, n: int) -> str:
    """Adds the number of nodes to a generator's text: ``torus:k=2`` becomes ``torus:n=16,k=2``."""
    name, colon, arguments = graph.partition(":")
    return f"{name}:n={n}" + ("," + arguments if colon else "")


def candidate(text: str, lr: float, limit: int) -> Candidate:
    """Runs one learning rate.

    Args:
        text: a setting, from :meth:`Setting.to_json`.
        lr: the learning rate.
        limit: the largest number of steps.
    """
    from dml.quadratics import table

    problem, rule, goal = _parts(text)
    return table.attempt(problem, rule, goal, lr, limit)


@lru_cache(maxsize=8)
def _parts(text: str) -> "tuple[RandomQuadratics, Callable[[Tensor], Rule], Goal]":
    """The parts that a setting's text describes; cached, as a worker gets many candidates of a cell."""
    values = json.loads(text)
    goal = Goal(**values.pop("goal"))
    _, problem, rule = Setting(**values, goal=goal).parts()
    return problem, rule, goal


def here(setting: Setting) -> Try:
    """A function that runs the candidates of a cell one after another in this process."""
    text = setting.to_json()
    return lambda lrs, limit: [candidate(text, lr, limit) for lr in lrs]
