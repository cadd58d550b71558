"""The presets ``multiwalk_topology`` and ``multiwalk_heterogeneity``: walks next to asynchronous gossip.

The grids are those of the publication (arXiv 2504.09792): 20 nodes, 5 local steps, numbers of walks by graph
or by heterogeneity. Here they run on digits with a perceptron, in simulated time, at one learning rate. With
them run D-PSGD and, in every group, a single walk.
"""

from collections.abc import Iterator
from typing import Any

from dml.parallel.table import Table

GRAPHS = ("cycle:n=20", "erdos_renyi:n=20,p=0.3,seed=0", "complete:n=20")

WALKS_BY_ALPHA = {10.0: (1, 2, 4, 6), 1.0: (1, 3, 6, 9), 0.1: (1, 4, 8, 12)}
"""The published numbers of walks for each concentration of labels."""

_FIXED: dict[str, Any] = {
    "dataset": "digits",
    "partition": "equal",
    "ood_test_proportion": 0.1,
    "lr": 0.05,
    "local_steps": 5,
    "rounds": 150,
    "eval_every": 5,
    "compute": "exponential:0.2",
    "latency": 0.1,
    "keep_checkpoint": False,
    "seed": (0, 1, 2),
}

_WALKS = {"algorithm": "multi_walk", "published": True}
_OTHERS = {"algorithm": ("async_gossip", "dpsgd")}


def topology() -> Iterator[Table]:
    """Numbers of walks on three graphs, at strong heterogeneity."""
    for method in ({**_WALKS, "walks": (1, 5, 10, 15)}, _OTHERS):
        yield Table.of({**_FIXED, "topology_file": GRAPHS, "label_alpha": 0.1, **method})


def heterogeneity() -> Iterator[Table]:
    """Numbers of walks at three heterogeneities, on the random graph."""
    for alpha, walks in WALKS_BY_ALPHA.items():
        for method in ({**_WALKS, "walks": walks}, _OTHERS):
            yield Table.of({**_FIXED, "topology_file": GRAPHS[1], "label_alpha": alpha, **method})
