"""The nodes at which walks start."""

from collections.abc import Sequence

import numpy as np

from dml import randomness
from dml.errors import InputError
from dml.topology import Topology

CONSECUTIVE, SPREAD, UNIFORM = "consecutive", "spread", "uniform"


def starts(topology: Topology, walks: int, how: str | Sequence[int], seed: int) -> list[int]:
    """The node at which each walk starts, [walks].

    Args:
        topology: a connected graph.
        walks: the number of walks.
        how: ``consecutive`` (nodes 0, 1, ...), ``spread`` (each as far as possible from those before it),
            ``uniform`` (drawn independently of one another), or the nodes themselves.
        seed: the experiment's seed.

    Raises:
        InputError: a start is no node, there are not as many as walks, or more walks than nodes are to start
            at different nodes.
    """
    if not isinstance(how, str):
        return _given(topology, walks, how)
    if how == UNIFORM:
        drawn = randomness.uniforms(seed, "walk start", 0, np.arange(walks), 0)
        return [int(u * topology.n) for u in drawn]
    if walks > topology.n:
        right = (
            f"of {topology.n} nodes no more than {topology.n} can each start a walk (--starts {how}); "
            "with --starts uniform, or with a list, several walks may start at one node"
        )
        raise InputError("walks", walks, right)
    return list(range(walks)) if how == CONSECUTIVE else spread(topology, walks)


def _given(topology: Topology, walks: int, nodes: Sequence[int]) -> list[int]:
    for node in nodes:
        if not 0 <= node < topology.n:
            right = f"the graph has the nodes 0 to {topology.n - 1}, and no {node}"
            raise InputError("starts", list(nodes), right)
    if len(nodes) != walks:
        raise InputError("starts", list(nodes), f"must be {walks} nodes, one per walk, not {len(nodes)}")
    return list(nodes)


def spread(topology: Topology, count: int) -> list[int]:
    """Nodes far from one another: node 0, then the node whose nearest start is farthest, and so on.

    The smallest distance between two of them is at least half as large as that of the best choice (Gonzalez
    1985). Ties go to the node with the largest sum of distances to the starts, then to the lowest index.

    Args:
        topology: a connected graph.
        count: how many, at most n.
    """
    chosen = [0]
    nearest = total = topology.distance_to([0]).astype(np.int64)
    while len(chosen) < count:
        key = nearest * topology.n * (count + 1) + total
        key[chosen] = -1
        chosen.append(int(key.argmax()))
        distance = topology.distance_to(chosen[-1:])
        nearest, total = np.minimum(nearest, distance), total + distance
    return chosen
