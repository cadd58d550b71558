"""The preset ``pairwise``: what becomes of nodes that average with one random neighbour at a time, on digits.

16 nodes with skewed labels train at random pace, on a ring and on a complete graph, with reliable links and
with links that lose three messages of ten. Nodes that train alone, and D-PSGD, are there for comparison.
"""

from collections.abc import Iterator
from typing import Any

from dml.parallel.table import Table

METHODS: tuple[dict[str, Any], ...] = (
    {"algorithm": "pairwise", "interpolation": ("constant", "clock", "loss", "divergence")},
    {"algorithm": "pairwise", "interpolation": "linear", "linear_updates": 120},
    {"algorithm": "pairwise", "pairwise_form": ("swap", "push", "running_sum")},
    {"algorithm": "dpsgd"},
    # Alone, neither the graph nor its links matter.
    {
        "algorithm": "pairwise",
        "pull_probability": 0.0,
        "topology_file": "cycle:n=16",
        "drop_probability": 0.0,
    },
)
"""What distinguishes the methods. All take the same learning rate, and the same number of steps per node."""

_FIXED = {
    "dataset": "digits",
    "partition": "equal",
    "label_alpha": 0.1,
    "ood_test_proportion": 0.1,
    "lr": 0.1,
    "local_steps": 5,
    "rounds": 120,
    "eval_every": 10,
    "compute": "exponential:1",
    "keep_checkpoint": False,
}

_FACTORS = {
    "topology_file": ("cycle:n=16", "complete:n=16"),
    "drop_probability": (0.0, 0.3),
    "seed": (0, 1, 2),
}


def tables() -> Iterator[Table]:
    """One table per method or group of methods."""
    for method in METHODS:
        yield Table.of({**_FIXED, **_FACTORS, **method})
