"""The rule of an experiment: its algorithm over the links of its graph, with its strategy, on its models."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.algorithm import Setup
from dml.algorithms.node_failures import FailureSchedule, RemainingNodes
from dml.algorithms.rule import Rule
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.config import ExperimentConfig
from dml.exchange.in_memory import InMemory
from dml.exchange.links import Links, all_to_all, over_edges
from dml.population import Population
from dml.ranks.ranks import ALONE, Ranks
from dml.topology import Topology

if TYPE_CHECKING:
    from dml.training.proximal import Proximal


def columns(config: ExperimentConfig, population: Population) -> Tensor:
    """The columns that the algorithm works on, a view: with float buffers if it averages."""
    convex = config.algorithm.described.convex
    return population.X[:, : population.size if convex else population.trained]


def rule_of(
    config: ExperimentConfig,
    topology: Topology,
    population: Population,
    samples: NDArray[np.int64],
    schedule: FailureSchedule | None,
    proximal: "Proximal | None",
    ranks: Ranks = ALONE,
) -> Rule:
    """The rule, also for nodes some of which fail.

    Args:
        config: the experiment.
        topology: its graph.
        population: its models.
        samples: training samples of each node, [n].
        schedule: which nodes fail, and when; None if none does.
        proximal: the term of the loss that draws to the neighbours, which change when nodes fail.
        ranks: the processes that share the nodes.
    """
    X, pace = columns(config, population), _pace(config, samples)

    def build(part: Topology, models: Tensor) -> Rule:
        if proximal and models is not X:
            proximal.draw_to(_of_part(topology.n, part, config.complete))
        return _build(config, part, models, population, samples[part.numbers], pace[part.numbers], ranks)

    return build(topology, X) if schedule is None else RemainingNodes(build, schedule, topology, X)


def _build(
    config: ExperimentConfig,
    topology: Topology,
    X: Tensor,
    population: Population,
    samples: NDArray[np.int64],
    pace: NDArray[np.float64],
    ranks: Ranks,
) -> Rule:
    chosen, seed = config.algorithm, config.run.seed
    links = _links(topology, config)
    exchange = InMemory(topology, X, seed=seed, drop=chosen.drop_probability, links=links, ranks=ranks)
    exchange.headers["samples"] = samples.astype(np.float64)
    coefficients = None
    if chosen.described.strategies:
        coefficients = StrategyCoefficients(topology, links, config.strategy, exchange.headers, seed)
    return chosen.described.make(
        Setup(
            topology,
            X,
            exchange,
            config.algorithm.options,
            chosen.chosen_loss_rule,
            seed,
            config.training.momentum,
            coefficients,
            population.tensors,
            sends_first=config.draws_to_neighbours,
            prox_coeff=config.training.prox_coeff,
            pace=pace,
        )
    )


def _pace(config: ExperimentConfig, samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Local steps of each node in a round, over their mean, [n]."""
    if config.training.local_steps:
        return np.ones(len(samples))
    batches = -(-samples // config.training.batch_size)
    found: NDArray[np.float64] = batches / batches.mean()
    return found


def _links(topology: Topology, config: ExperimentConfig) -> Links:
    make = all_to_all if config.complete else over_edges
    return make(topology, config.algorithm.drop_probability, config.run.seed)


def neighbours(topology: Topology, complete: bool) -> list[NDArray[np.int64]]:
    """The other nodes whose models each node may use, n arrays, ascending.

    Args:
        topology: the graph.
        complete: all nodes exchange models, whatever the edges.
    """
    if complete:
        nodes = np.arange(topology.n)
        return [np.delete(nodes, node) for node in nodes]
    found = topology.neighbours()
    return np.split(found.indices.astype(np.int64), found.indptr[1:-1])


def _of_part(n: int, part: Topology, complete: bool) -> list[NDArray[np.int64]]:
    """The remaining neighbours of each of n nodes; none for a node that is not in the part."""
    found = [np.empty(0, np.int64)] * n
    for node, others in zip(part.numbers, neighbours(part, complete), strict=True):
        found[node] = part.numbers[others]
    return found
