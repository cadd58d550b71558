"""From an algorithm's name to its rule on a graph."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dml.algorithms import links as messages
from dml.algorithms import registry
from dml.algorithms.allreduce import AllReduce
from dml.algorithms.d2 import D2
from dml.algorithms.dpsgd import DPSGD
from dml.algorithms.exact_diffusion import ExactDiffusion, lazy
from dml.algorithms.gradient_tracking import GradientTracking
from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.one_peer_exponential import OnePeerExponential, offsets
from dml.algorithms.push_sum import PushSum
from dml.algorithms.quasi_global_momentum import QuasiGlobalMomentum
from dml.algorithms.registry import Options
from dml.algorithms.relay import Relays
from dml.algorithms.relay_mix import RelayMix
from dml.algorithms.relaysgd import RelaySGD
from dml.algorithms.relaysgd_grad import RelaySGDGrad
from dml.algorithms.rule import Rule
from dml.topology import Topology, spectrum, trees

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Coefficients = Callable[[int], "csr_array"]
"""W of a round, [n, n]."""


def build(
    name: str,
    topology: Topology,
    X: Tensor,
    options: Options | None = None,
    coefficients: Coefficients | None = None,
) -> Rule:
    """The rule of an algorithm.

    Args:
        name: one of ``registry.ALGORITHMS``.
        topology: the graph.
        X: x(0), [n, P], without padding columns.
        options: what it reads.
        coefficients: W of each round for ``dpsgd``, in place of those of the options.

    Raises:
        InputError: the algorithm does not run so, or on this graph.
    """
    options = options or Options()
    registry.check(name, topology, options)
    rule = options.loss_rule or registry.find(name).loss_rules[0]
    if name in ("relaysgd", "relaysgd_grad", "relay_mix"):
        return _relay(name, topology, X, options, rule)
    if name == "one_peer_exponential":
        return _one_peer(topology, X, options, rule)
    if name == "allreduce":
        links = _offsets(topology, list(range(1, topology.n)), options)
        return AllReduce(Mixing(_even(links), links, rule, X), links)
    links = messages.over_edges(topology, options.drop_probability, options.seed)
    if name == "push_sum":
        return PushSum(links, rule, X)
    if name == "dpsgd" and coefficients is not None:
        return DPSGD(Mixing(coefficients, links, rule, X), links)
    return _gossip(name, topology, X, options, rule, links)


def _gossip(name: str, topology: Topology, X: Tensor, options: Options, rule: str, links: Links) -> Rule:
    from scipy.sparse import csr_array

    W = csr_array(spectrum.averaging(topology, options.edge_weight))

    def mixing() -> Mixing:
        return Mixing(lazy(W) if name == "exact_diffusion" else W, links, rule, X)

    match name:
        case "dpsgd":
            return DPSGD(mixing(), links)
        case "d2":
            return D2(mixing(), links, X)
        case "exact_diffusion":
            return ExactDiffusion(mixing(), links, X)
        case "gradient_tracking":
            return GradientTracking(mixing(), mixing(), links, X)
        case "quasi_global_momentum":
            return QuasiGlobalMomentum(mixing(), links, options.momentum, X)
    raise AssertionError(f"{name} is registered and not built")


def _relay(name: str, topology: Topology, X: Tensor, options: Options, rule: str) -> Rule:
    chosen = trees.choose(topology, options.tree, options.tree_root, options.seed)
    drop, seed = options.drop_probability, options.seed
    links = [messages.over_edges(topology, drop, seed, tree.edges) for tree in chosen]
    remember = "hold" if rule == "hold_last" else "nothing"
    if name == "relaysgd_grad" and rule == "hold_last":
        remember = "backlog"
    relays = Relays(links, remember, options.overlap, options.tree_slices == "strided", X)
    kappa = trees.kappa(chosen, options.overlap)
    if name == "relaysgd":
        return RelaySGD(relays, rule, kappa, X)
    if name == "relay_mix":
        return RelayMix(relays, options.consensus_strength, rule, kappa, X)
    return RelaySGDGrad(relays, X)


def _one_peer(topology: Topology, X: Tensor, options: Options, rule: str) -> Rule:
    peers = []
    for offset in offsets(topology.n):
        links = _offsets(topology, [offset], options)
        peers.append((Mixing(_even(links), links, rule, X), links))
    return OnePeerExponential(peers, options.exchanges)


def _offsets(topology: Topology, chosen: list[int], options: Options) -> Links:
    return messages.from_offsets(topology, chosen, options.drop_probability, options.seed)


def _even(links: Links) -> "csr_array":
    """Equal weights to all that a node hears, and to itself."""
    from scipy.sparse import csr_array, eye_array

    n, k = links.topology.n, len(links.receiver)
    W = csr_array((np.ones(k), (links.receiver, links.sender)), shape=(n, n)) + eye_array(n)
    return (W / (1 + k // n)).tocsr()
