"""What a graph lets algorithms do, and where knowledge goes on it, computed without training."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms import registry
from dml.algorithms.registry import ALGORITHMS, Options
from dml.coefficients.strategies import STRATEGIES, Context, with_self_weight
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.topology import Topology, spectrum, trees

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DECAYS = (0.0, 0.5, 0.9, 0.99)
"""g of the effective numbers of neighbours."""


def facts(topology: Topology, options: Options, decays: Sequence[float] = DECAYS) -> dict[str, Any]:
    """The numbers that algorithms depend on, fit for JSON. Every link is taken to work.

    Args:
        topology: the graph.
        options: edge weight and tree.
        decays: g of the effective numbers of neighbours.

    Returns:
        topology, n, m; of the averaging matrix: spectral_gap (1 - |lambda_2|), lambda_min,
        effective_neighbours by g, dpsgd_floor (see `spectrum.dpsgd_spread`); of the tree: tree (its name),
        kappa, max_delay in rounds; all three None where there is no tree; refused: by algorithm, why it does
        not run, None where it does.

    Raises:
        InputError: the edge weight is wrong.
    """
    W = spectrum.averaging(topology, options.edge_weight)
    values = np.linalg.eigvalsh(W)
    refused = {name: registry.refusal(name, topology, options) for name in ALGORITHMS}
    chosen: tuple[trees.Tree, ...] = ()
    if refused["relaysgd"] is None:
        chosen = trees.choose(topology, options.tree, options.tree_root, options.seed)
    late = 0 if options.overlap else 1
    return {
        "topology": topology.source,
        "n": topology.n,
        "m": topology.m,
        "spectral_gap": float(np.clip(1 - max(abs(values[0]), abs(values[-2])), 0, 1)),
        "lambda_min": float(values[0]),
        "effective_neighbours": {f"{g:g}": spectrum.effective_neighbours(W, g) for g in decays},
        "dpsgd_floor": spectrum.dpsgd_spread(W),
        "tree": " and ".join(tree.name for tree in chosen) or None,
        "kappa": trees.kappa(chosen, options.overlap) if chosen else None,
        "max_delay": max(tree.diameter() for tree in chosen) - late if chosen else None,
        "refused": refused,
    }


Coefficients = Callable[[int], "csr_array"]
"""C of a round, [n, n], row-stochastic."""


def propagation(
    coefficients: Coefficients, sources: Iterable[int], n: int, rounds: int
) -> NDArray[np.float64]:
    """How much of the sources' models each node holds, if only averaging went on: a forecast.

    After t rounds it is the sum over the sources of their columns of C(t-1) .. C(1) C(0); what is trained
    in between is left out.

    Args:
        coefficients: C of each round.
        sources: the nodes whose models are followed, such as those with OOD data.
        n: number of nodes.
        rounds: how far to look.

    Returns:
        Shares in [0, 1], after 0, 1 .. rounds, [rounds + 1, n].

    Raises:
        InputError: a source that is no node.
    """
    share = np.zeros((rounds + 1, n))
    for source in sources:
        if not 0 <= source < n:
            raise InputError("source", source, f"is no node; nodes are 0..{n - 1}")
        share[0, source] = 1
    for t in range(rounds):
        share[t + 1] = coefficients(t) @ share[t]
    return share


def of_strategy(
    topology: Topology,
    name: str,
    softmax: float | None,
    samples: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Coefficients:
    """The coefficients of a strategy while all links work and all nodes take part.

    Args:
        topology: the graph.
        name: one of ``STRATEGIES``.
        softmax: s, or None; strategies that read none take no notice.
        samples: training samples a node, [n]; equal ones by default.
        seed: of strategies that draw.

    Raises:
        InputError: no such strategy, one that is not defined on this graph, or one that looks at models.
    """
    if name not in STRATEGIES:
        raise InputError("strategies", name, f"no such strategy; there are: {', '.join(STRATEGIES)}")
    strategy = STRATEGIES[name]
    if strategy.needs_softmax:
        raise InputError("strategies", name, "looks at the models, which a forecast has not")
    strategy.check(topology)
    if strategy.complete:
        indptr = np.arange(topology.n + 1) * topology.n
        indices = np.tile(np.arange(topology.n), topology.n)
    else:
        indptr, indices = _with_own(topology)
    counts = np.ones(topology.n, np.int64) if samples is None else samples
    return partial(_round, topology, name, indptr, indices, counts, softmax, seed)


def ood_forecast(
    config: ExperimentConfig, topology: Topology, samples: NDArray[np.int64], rounds: int
) -> float | None:
    """How much of the OOD nodes' models all nodes hold, on the mean over nodes and rounds, without training.

    It orders experiments as their OOD AUC does, as far as averaging alone decides how knowledge spreads.

    Args:
        config: the experiment, its OOD nodes resolved.
        topology: its graph.
        samples: training samples a node, [n].
        rounds: how many.

    Returns:
        A share in [0, 1]; None without OOD data, or where the coefficients look at models, or where the
        algorithm is no average by a strategy's coefficients, or where nodes fail.
    """
    strategy, nodes = config.strategy, config.data.backdoor_node_idx
    name = strategy.aggregation_strategy
    if not (config.data.backdoor and nodes and config.algorithm.averages) or STRATEGIES[name].needs_softmax:
        return None
    if config.algorithm.failing_nodes:
        return None

    def coefficients(t: int) -> "csr_array":
        C = of_strategy(topology, name, strategy.softmax_at(t), samples, config.run.seed)(t)
        return C if strategy.self_weight is None else with_self_weight(C, strategy.self_weight)

    first = coefficients(0)
    steady = (lambda t: first) if strategy.steady else coefficients
    return float(propagation(steady, nodes, topology.n, rounds)[1:].mean())


def _round(
    topology: Topology,
    name: str,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    samples: NDArray[np.int64],
    softmax: float | None,
    seed: int,
    t: int,
) -> "csr_array":
    def no_models(receiver: NDArray[np.int64], sender: NDArray[np.int64]) -> NDArray[np.float64]:
        raise AssertionError(f"{name} looks at models")

    ctx = Context(topology, indptr, indices, t, samples, softmax, seed, no_models)
    return STRATEGIES[name].coefficients(ctx)


def _with_own(topology: Topology) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The neighbourhoods, each with the node itself, ascending."""
    near, own = topology.neighbours(), np.arange(topology.n)
    row = np.concatenate([np.repeat(own, topology.degree), own])
    column = np.concatenate([near.indices, own])
    indptr = np.concatenate([[0], np.cumsum(topology.degree + 1)])
    return indptr, column[np.lexsort((column, row))]
