"""The algorithms by name. A new one is a file of this folder, and a line of ``ALGORITHMS``.

Nothing here needs torch, so that a command line can refuse before it is loaded.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dml.algorithms.algorithm import Algorithm
from dml.algorithms.options import Options
from dml.errors import InputError
from dml.registry import Registry
from dml.topology import Topology
from dml.validation import input_error

ALGORITHMS = Registry[Algorithm](
    "dml.algorithms",
    {
        "decentralized": "decentralized:ALGORITHM",
        "allreduce": "allreduce:ALGORITHM",
        "fedavg": "fedavg:ALGORITHM",
        "fedprox": "fedprox:ALGORITHM",
        "scaffold": "scaffold:ALGORITHM",
        "huscaffold": "huscaffold:ALGORITHM",
        "hscaffold": "hscaffold:ALGORITHM",
        "mifa": "mifa:ALGORITHM",
        "fedau": "fedau:ALGORITHM",
        "dpsgd": "dpsgd:ALGORITHM",
        "relaysgd": "relaysgd:ALGORITHM",
        "relaysgd_grad": "relaysgd_grad:ALGORITHM",
        "relay_mix": "relay_mix:ALGORITHM",
        "d2": "d2:ALGORITHM",
        "exact_diffusion": "exact_diffusion:ALGORITHM",
        "gradient_tracking": "gradient_tracking:ALGORITHM",
        "quasi_global_momentum": "quasi_global_momentum:ALGORITHM",
        "push_sum": "push_sum:ALGORITHM",
        "one_peer_exponential": "one_peer_exponential:ALGORITHM",
        "multi_walk": "multi_walk:ALGORITHM",
        "random_walk": "random_walk:ALGORITHM",
        "async_gossip": "async_gossip:ALGORITHM",
        "pairwise": "pairwise:ALGORITHM",
        "centralized": "centralized:ALGORITHM",
        "traversal": "traversal:ALGORITHM",
        "split": "split:ALGORITHM",
        "splitfed": "splitfed:ALGORITHM",
    },
)

DEFAULT = "decentralized"


def find(name: str) -> Algorithm:
    """The algorithm of a name.

    Raises:
        InputError: there is none.
    """
    if name not in ALGORITHMS:
        raise InputError("algorithm", name, f"no such algorithm; choose one of: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def options_of(algorithm: Algorithm, given: Mapping[str, Any]) -> Options:
    """The options of an algorithm.

    Args:
        algorithm: the algorithm.
        given: values by name; those that the algorithm does not have are left out.

    Raises:
        InputError: a value that cannot be right.
    """
    own = {name: value for name, value in given.items() if name in algorithm.options.model_fields}
    try:
        return algorithm.options(**own)
    except ValidationError as error:
        raise input_error(error) from None


def check_loss_rule(name: str, loss_rule: str | None) -> str:
    """The loss rule, or the default of an algorithm; empty if none of its messages can be lost.

    Raises:
        InputError: the algorithm has no such rule.
    """
    known = find(name).loss_rules
    if loss_rule is not None and loss_rule not in known:
        raise InputError("loss_rule", loss_rule, f"{name} knows {', '.join(known) or 'none'}")
    return loss_rule or next(iter(known), "")


def refusal(algorithm: Algorithm, topology: Topology, given: Mapping[str, Any], seed: int) -> str | None:
    """Why an algorithm does not run on a graph, in words; None if it does.

    Args:
        algorithm: the algorithm.
        topology: the graph.
        given: options by name; those that the algorithm does not have are left out.
        seed: of random trees.
    """
    try:
        algorithm.admits(topology, options_of(algorithm, given), seed)
    except InputError as error:
        return str(error)
    return None
