"""Properties of algorithms on a graph, and a forecast of how knowledge spreads on it, without training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.options import TreeOptions
from dml.algorithms.registry import ALGORITHMS, options_of, refusal
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.coefficients.strategies import STRATEGIES
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.exchange.connections import beyond_edges
from dml.exchange.links import all_to_all, over_edges
from dml.topology import Topology, averaging, spectrum, trees
from dml.topology.describe import diameter
from dml.walks import figures, transitions
from dml.walks import theory as walk_theory

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DECAYS = (0.0, 0.5, 0.9, 0.99)
"""Values of g, the decay in the effective number of neighbours."""

MAX_PAIRS = 1000
"""The number of connections of an algorithm that are listed; there may be n^2/2 of them."""


def facts(
    topology: Topology, given: Mapping[str, Any], seed: int = 0, decays: Sequence[float] = DECAYS
) -> dict[str, Any]:
    """Properties of a graph that algorithms depend on, as JSON values. All links are assumed to work.

    Args:
        topology: the graph.
        given: options of algorithms by name, such as ``edge_weight`` and ``tree``; others have defaults.
        seed: the seed of random trees.
        decays: the values of g for the effective number of neighbours.

    Returns:
        topology, n, m; degrees, the smallest and the largest; diameter in hops, None on a disconnected graph;
        for the averaging matrix: spectral_gap (1 - |lambda_2|), lambda_min, effective_neighbours by g,
        dpsgd_floor (see `spectrum.dpsgd_spread`); for pairwise averages: gossip_gap; for walks: walk (see
        `figures.of_walks`), None on a disconnected graph; for the tree: tree (its name), kappa, max_delay in
        rounds, all None if there is no tree; refused: for each algorithm the reason why it does not run on
        the graph, or None if it does; connections: for each algorithm and strategy that exchanges models
        between nodes without an edge, the number of these pairs and the first 1000 of them.

    Raises:
        InputError: the edge weight, the transition matrix or the mixing node is wrong.
    """
    W = averaging.averaging(topology, given.get("edge_weight")).toarray()
    refused = {
        name: refusal(entry, topology, given, seed)
        for name, entry in ALGORITHMS.items()
        if entry.runs_alone or entry.events
    }
    return {
        "topology": topology.source,
        "n": topology.n,
        "m": topology.m,
        "degrees": list(figures.degrees(topology)),
        "diameter": diameter(topology),
        "spectral_gap": spectrum.spectral_gap(W),
        "lambda_min": spectrum.lambda_min(W),
        "effective_neighbours": {f"{g:g}": spectrum.effective_neighbours(W, g) for g in decays},
        "dpsgd_floor": spectrum.dpsgd_spread(W),
        "gossip_gap": walk_theory.gossip_gap(topology),
        "walk": figures.of_walks(
            topology, given.get("transition") or transitions.MH, given.get("mixing_node")
        ),
        **_of_trees(topology, given, seed, refused),
        "refused": refused,
        "connections": _connections(topology),
    }


def _connections(topology: Topology) -> dict[str, dict[str, Any]]:
    """The connections that are no edges, of the algorithms and strategies that ignore the edges."""
    complete = [name for name, entry in ALGORITHMS.items() if entry.all_to_all]
    complete += [name for name, entry in STRATEGIES.items() if entry.complete]
    needed = dict.fromkeys(complete, beyond_edges(topology, True))
    for name, entry in ALGORITHMS.items():
        if offsets := entry.offsets(topology.n):
            needed[name] = beyond_edges(topology, False, offsets)
    return {
        name: {"number": len(pairs), "pairs": pairs[:MAX_PAIRS].tolist()} for name, pairs in needed.items()
    }


def _of_trees(
    topology: Topology, given: Mapping[str, Any], seed: int, refused: Mapping[str, str | None]
) -> dict[str, Any]:
    """The properties of the tree that the first relay algorithm uses, if one runs on the graph."""
    relays = [name for name, entry in ALGORITHMS.items() if issubclass(entry.options, TreeOptions)]
    running = next((name for name in relays if refused[name] is None), None)
    if running is None:
        return {"tree": None, "kappa": None, "max_delay": None}
    options = options_of(ALGORITHMS[running], given)
    assert isinstance(options, TreeOptions)
    kappa = trees.kappa(options.choose(topology, seed), options.overlap)
    return {"tree": None, "kappa": kappa, "max_delay": None} | options.facts(topology, seed)


Coefficients = Callable[[int], "csr_array"]
"""The row-stochastic matrix C of a round, [n, n]."""


def propagation(
    coefficients: Coefficients, sources: Iterable[int], n: int, rounds: int
) -> NDArray[np.float64]:
    """Forecasts the share of the sources' initial models in each node's model, if nodes only average.

    After t rounds it is the sum over the sources of their columns of C(t-1) ... C(1) C(0). Training is
    ignored.

    Args:
        coefficients: the matrix C of each round.
        sources: the nodes whose models are followed, such as those with OOD data.
        n: the number of nodes.
        rounds: the number of rounds.

    Returns:
        The shares in [0, 1] after 0, 1, ..., ``rounds`` rounds, [rounds + 1, n].

    Raises:
        InputError: a source is not a node.
    """
    share = np.zeros((rounds + 1, n))
    for source in sources:
        if not 0 <= source < n:
            raise InputError("source", source, f"is not a node; nodes are 0 to {n - 1}")
        share[0, source] = 1
    for t in range(rounds):
        share[t + 1] = coefficients(t) @ share[t]
    return share


def of_strategy(
    topology: Topology, strategy: StrategyConfig, samples: NDArray[np.int64] | None = None, seed: int = 0
) -> Coefficients:
    """The coefficients of a strategy if all links work and all nodes take part.

    Args:
        topology: the graph.
        strategy: the strategy and its options.
        samples: the number of training samples per node, [n]; by default equal for all.
        seed: the seed of strategies that draw random numbers.

    Raises:
        InputError: the strategy is not defined on this graph, or looks at models.
    """
    described, name = strategy.described, strategy.aggregation_strategy
    if described.looks_at_models or described.reduction is not None:
        raise InputError("strategies", name, "looks at the models, which a forecast does not have")
    described.check(topology)
    links = (all_to_all if described.complete else over_edges)(topology, 0.0, seed)
    counts = np.ones(topology.n) if samples is None else samples.astype(np.float64)
    coefficients = StrategyCoefficients(topology, links, strategy, {"samples": counts}, seed)
    every = np.ones(len(links), bool)
    return lambda t: coefficients(t, every)


def strategy_named(name: str, softmax_coeff: float | None) -> StrategyConfig:
    """A strategy by its name.

    Args:
        name: the name of the strategy.
        softmax_coeff: s of the softmax over its scores; None divides by their sum. A strategy without scores
            ignores it.

    Raises:
        InputError: there is no such strategy.
    """
    if name not in STRATEGIES:
        raise InputError("strategies", name, f"no such strategy; choose one of: {', '.join(STRATEGIES)}")
    softmax = {"softmax": softmax_coeff is not None or STRATEGIES[name].looks_at_models}
    coefficient = {} if softmax_coeff is None else {"softmax_coeff": softmax_coeff}
    return StrategyConfig.model_validate({"aggregation_strategy": name} | softmax | coefficient)


class OodForecast:
    """Forecasts the OOD AUC: the mean share of the OOD nodes' models over nodes and rounds, without training.

    It ranks experiments like their OOD AUC, as far as averaging alone decides how knowledge spreads.

    Args:
        config: the experiment, with its OOD nodes resolved.
        topology: the graph.
        samples: the number of training samples per node, [n].
    """

    def __init__(self, config: ExperimentConfig, topology: Topology, samples: NDArray[np.int64]) -> None:
        strategy, nodes = config.strategy, config.data.backdoor_node_idx
        self._coefficients: Coefficients | None = None
        known = not strategy.described.looks_at_models and strategy.described.reduction is None
        if (
            config.data.backdoor
            and nodes
            and config.algorithm.described.strategies
            and not config.algorithm.failing_nodes
            and strategy.aggregation_order == "simultaneous"
            and known
        ):
            self._coefficients = of_strategy(topology, strategy, samples, config.run.seed)
        self._share = np.zeros(topology.n)
        self._share[list(nodes or ())] = 1
        self._means: list[float] = []

    def after(self, rounds: int) -> float | None:
        """The forecast for a number of rounds, as a share in [0, 1].

        It is None without OOD data or rounds, if nodes fail or aggregate one after another, if the algorithm
        does not average with a strategy's coefficients, or if these depend on the models.
        """
        if self._coefficients is None or not rounds:
            return None
        while len(self._means) < rounds:
            self._share = self._coefficients(len(self._means)) @ self._share
            self._means.append(float(self._share.mean()))
        return float(np.mean(self._means[:rounds]))
