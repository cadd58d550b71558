"""The preset ``relaysgd``: the algorithms of table 2 of Vogels et al. (NeurIPS 2021) on digits.

16 nodes hold equal amounts of data, with three degrees of label skew, and train for 600 rounds of one step.
Each method has its own learning rate for each graph and label skew.
"""

from collections.abc import Iterator
from typing import Any

from dml.parallel.table import Table

ALPHAS = (1.0, 0.1, 0.01)

_CHAIN, _CYCLE, _TREES = "chain:n=16", "cycle:n=16", "double_binary_trees:n=16"

EDGE_WEIGHT = {_CYCLE: 1 / 3 - 0.01, _TREES: 0.18}
"""The edge weight of ``d2``, which does not converge on these graphs with Metropolis-Hastings weights."""

TREE = {_CHAIN: "auto", _CYCLE: "two_chains", _TREES: "double_binary_trees"}

Rates = tuple[float, float, float]

# Found by bd_scheduler.py --tune_lr worst_test on seed 0, from 0.1 without momentum and 0.02 with it.
LEARNING_RATES: dict[tuple[str, str], tuple[Rates | None, Rates]] = {
    ("allreduce", _CYCLE): ((0.8, 0.8, 0.2), (0.08, 0.32, 0.64)),
    ("one_peer_exponential", _CYCLE): ((0.05, 0.8, 0.8), (0.32, 0.32, 0.32)),
    ("relaysgd", _CHAIN): ((0.8, 0.8, 0.1), (0.02, 0.32, 0.16)),
    ("relaysgd", _CYCLE): ((1.6, 0.8, 0.8), (0.02, 0.64, 0.16)),
    ("relaysgd", _TREES): ((1.6, 1.6, 0.8), (0.02, 0.02, 0.16)),
    ("relaysgd_grad", _CHAIN): ((3.2, 3.2, 3.2), (0.08, 0.02, 0.08)),
    ("relaysgd_grad", _CYCLE): ((3.2, 3.2, 0.2), (0.04, 0.04, 0.04)),
    ("relaysgd_grad", _TREES): ((0.8, 1.6, 3.2), (0.08, 0.08, 0.04)),
    ("dpsgd", _CHAIN): ((1.6, 0.1, 0.8), (0.32, 0.64, 0.32)),
    ("dpsgd", _CYCLE): ((1.6, 0.8, 0.8), (0.32, 0.64, 0.04)),
    ("dpsgd", _TREES): ((1.6, 0.1, 0.8), (0.32, 0.64, 0.64)),
    ("gradient_tracking", _CHAIN): ((0.1, 0.2, 0.8), (0.32, 0.32, 0.02)),
    ("gradient_tracking", _CYCLE): ((0.1, 0.8, 0.8), (0.32, 0.32, 0.02)),
    ("gradient_tracking", _TREES): ((1.6, 1.6, 0.8), (0.02, 0.32, 0.02)),
    ("quasi_global_momentum", _CHAIN): (None, (0.32, 0.01, 0.02)),
    ("quasi_global_momentum", _CYCLE): (None, (0.32, 0.64, 0.01)),
    ("quasi_global_momentum", _TREES): (None, (0.02, 0.02, 0.02)),
    ("d2", _CHAIN): ((0.1, 0.1, 0.8), (0.32, 0.32, 0.32)),
    ("d2", _CYCLE): ((0.1, 0.8, 0.8), (0.64, 0.32, 0.32)),
    ("d2", _TREES): ((0.8, 0.1, 0.8), (0.32, 0.32, 0.32)),
}
"""The learning rates by algorithm and graph: without momentum, and with Nesterov's momentum of 0.9. Each has
one value per concentration in `ALPHAS`."""

_FIXED = {
    "dataset": "digits",
    "partition": "equal",
    "ood_test_proportion": 0.1,
    "rounds": 600,
    "eval_every": 60,
    "local_steps": 1,
    "keep_checkpoint": False,
}


def tables() -> Iterator[Table]:
    """One table per method, graph and concentration, with three seeds."""
    for (algorithm, graph), both in LEARNING_RATES.items():
        for momentum, rates in zip((0.0, 0.9), both, strict=True):
            for alpha, lr in zip(ALPHAS, rates or (), strict=False):
                yield Table.of(_values(algorithm, graph, momentum) | {"label_alpha": alpha, "lr": lr})


def _values(algorithm: str, graph: str, momentum: float) -> dict[str, Any]:
    values = {**_FIXED, "algorithm": algorithm, "topology_file": graph, "seed": (0, 1, 2)}
    if momentum:
        values |= {"momentum": momentum, "nesterov": True}
    if algorithm == "d2" and graph in EDGE_WEIGHT:
        values["edge_weight"] = EDGE_WEIGHT[graph]
    if algorithm.startswith("relay") and graph in TREE:
        values["tree"] = TREE[graph]
    return values
