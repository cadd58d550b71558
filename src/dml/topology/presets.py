"""The topologies of the published examples and experiments."""

from collections.abc import Sequence

import numpy as np

from dml.topology.generators import make
from dml.topology.graph import Topology

_FAN = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)]

_SMALL: dict[str, tuple[int, list[tuple[int, int]]]] = {
    # A chain.
    "topology_1": (3, [(0, 1), (1, 2)]),
    # A ring.
    "topology_2": (4, [(0, 1), (1, 2), (2, 3), (0, 3)]),
    # Two triangles joined by a bridge.
    "topology_3": (6, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]),
    # Two communities of five, joined by two links.
    "topology_4": (10, [*_FAN, *((i + 5, j + 5) for i, j in _FAN), (0, 5), (4, 9)]),
}


def _barabasi_albert(sizes: Sequence[int], links: Sequence[int]) -> tuple[str, ...]:
    """The graphs of every size with every number m of links per new node."""
    return tuple(f"barabasi_albert:n={n},m={m}" for n in sizes for m in links)


TABLES: dict[str, tuple[str, ...]] = {
    # The main sweep of arXiv 2505.11760.
    "paper": (
        *(f"watts_strogatz:n={n},k=4,p=0.5" for n in (8, 16, 33)),
        *_barabasi_albert((8, 16, 64), (2,)),
        *_barabasi_albert((33,), (1, 2, 3)),
        *(f"stochastic_block:blocks=3,size=11,p_in=0.5,p_out={p}" for p in (0.009, 0.05, 0.09)),
    ),
    # Three of these, for a first look at the effect.
    "quickstart": (*_barabasi_albert((33,), (1, 2)), "watts_strogatz:n=33,k=4,p=0.5"),
    "hetero_label": _barabasi_albert((33,), (2,)),
    "softmax": _barabasi_albert((33,), (1, 2, 3)),
    "neg_soft": _barabasi_albert((8, 16, 33), (1, 2, 3)),
    "scale_nodes": (*_barabasi_albert((16, 32), (2,)), *_barabasi_albert((64,), (3,))),
    "heterogeneous": _barabasi_albert((33, 66, 100), (2,)),
    "timing": _barabasi_albert((8, 16, 33, 64), (3,)),
}
"""The graphs of the published sweeps, as generator texts without a seed: they use the experiment's."""


def examples() -> dict[str, Topology]:
    """Eight small topologies to try things on, ``topology_1`` to ``topology_8``, in the published order.

    The first four are drawn by hand and have the sizes of the published ones: 3, 4, 6 and 10.
    """
    drawn = {
        name: Topology(n, np.array(edges, dtype=np.int32), np.ones(len(edges)), source=name)
        for name, (n, edges) in _SMALL.items()
    }
    return drawn | {
        "topology_5": _unreliable_links(),
        "topology_6": make("complete:n=3"),
        "topology_7": make("complete:n=10"),
        "topology_8": make("barabasi_albert:n=16,m=2,seed=0"),
    }


def _unreliable_links() -> Topology:
    """A clustered graph of 15 nodes whose links work with probabilities drawn from [0.7, 1)."""
    certain = make("powerlaw_cluster:n=15,m=2,p=0.01,seed=0")
    # The source is a name, as the generator's text alone would give links that always work.
    return certain.with_weights(np.random.default_rng(0).uniform(0.7, 1.0, certain.m), source="topology_5")
