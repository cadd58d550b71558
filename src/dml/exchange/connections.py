"""The connections between nodes that an exchange needs besides the edges of the graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dml.topology import Topology


def beyond_edges(topology: Topology, all_to_all: bool, offsets: Sequence[int] = ()) -> NDArray[np.int64]:
    """The pairs of nodes, i < j, that send each other messages and share no edge, [pairs, 2], ascending.

    Args:
        topology: the graph.
        all_to_all: whether every node hears every other one.
        offsets: node i hears (i - offset) mod n for each of them.
    """
    nodes = np.arange(topology.n)
    needed = np.full((topology.n, topology.n), all_to_all)
    for offset in offsets:
        needed[nodes, (nodes - offset) % topology.n] = True
    i, j = topology.edges.T
    needed |= needed.T
    needed[i, j] = needed[j, i] = False
    return np.argwhere(np.triu(needed, 1)).astype(np.int64)
