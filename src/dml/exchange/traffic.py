"""The bytes that are sent."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BYTES_PER_NUMBER = 4
"""A model is sent as fp32, whatever it trains in."""


def _nothing() -> NDArray[np.int64]:
    return np.zeros(2, np.int64)


@dataclass(frozen=True)
class Traffic:
    """The bytes that were sent in one round, whether or not the messages arrived.

    Args:
        sent: by each node to other nodes, [n].
        edges: over each edge (i, j) of the topology: from i to j, and from j to i, [m, 2].
        server: to a server that is no node, and from it, [2].
        control: in headers and notifications, over all nodes; not part of the others.
        handed_over: by nodes that fail to those that take their place; not part of the others.
    """

    sent: NDArray[np.int64]
    edges: NDArray[np.int64]
    server: NDArray[np.int64] = field(default_factory=_nothing)
    control: int = 0
    handed_over: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.sent + other.sent,
            self.edges + other.edges,
            self.server + other.server,
            self.control + other.control,
            self.handed_over + other.handed_over,
        )


def none(n: int, m: int) -> Traffic:
    """No bytes at all, for n nodes and m edges."""
    return Traffic(np.zeros(n, np.int64), np.zeros((m, 2), np.int64))
