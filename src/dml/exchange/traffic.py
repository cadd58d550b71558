"""The bytes that are sent, and the path that they take: what a clock needs to know of an exchange."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BYTES_PER_NUMBER = 4
"""A model is sent as fp32, whatever it trains in."""


def _nothing() -> NDArray[np.int64]:
    return np.zeros(2, np.int64)


@dataclass(frozen=True)
class Path:
    """The messages of one or more exchanges that follow one another, as far as they decide a time.

    Messages of one hop travel at the same time; a hop begins when the one before it has ended.

    Args:
        hops: the number of hops.
        link: bytes: the most over one directed link in each hop, added up over the hops.
        port: bytes: the most that one node sends and receives in each hop, added up over the hops.
    """

    hops: int = 0
    link: float = 0.0
    port: float = 0.0

    def __add__(self, other: "Path") -> "Path":
        return Path(self.hops + other.hops, self.link + other.link, self.port + other.port)


def ring(n: int, size: int) -> Path:
    """The path by which the mean of n vectors reaches all nodes around a ring (all-reduce).

    Each of n slices goes around twice: once to be added up, once to be handed out. In each of 2 (n - 1) hops,
    every node sends one slice and receives one.

    Args:
        n: the number of nodes.
        size: of a vector, in bytes.
    """
    hops = 2 * (n - 1)
    return Path(hops, hops * size / n, 2 * hops * size / n)


@dataclass(frozen=True)
class Traffic:
    """The bytes that were sent in one round, whether or not the messages arrived.

    Args:
        sent: by each node to other nodes, [n].
        edges: over each edge (i, j) of the topology: from i to j, and from j to i, [m, 2].
        server: to a server that is no node, and from it, [2].
        control: in headers and notifications, over all nodes; not part of the others.
        handed_over: by nodes that fail to those that take their place; not part of the others.
        path: of the messages of synchronous rounds.
    """

    sent: NDArray[np.int64]
    edges: NDArray[np.int64]
    server: NDArray[np.int64] = field(default_factory=_nothing)
    control: int = 0
    handed_over: int = 0
    path: Path = Path()

    def __add__(self, other: "Traffic") -> "Traffic":
        """The traffic of two exchanges, one after the other."""
        return Traffic(
            self.sent + other.sent,
            self.edges + other.edges,
            self.server + other.server,
            self.control + other.control,
            self.handed_over + other.handed_over,
            self.path + other.path,
        )


def none(n: int, m: int) -> Traffic:
    """No bytes at all, for n nodes and m edges."""
    return Traffic(np.zeros(n, np.int64), np.zeros((m, 2), np.int64))
