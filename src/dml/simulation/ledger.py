"""The bytes that are sent over each link in a round."""

import numpy as np

from dml.exchange.traffic import Traffic
from dml.topology import Topology


class Ledger:
    """Counts bytes; those of a message belong to its sender and to the round in which it is sent.

    Args:
        topology: the graph.
    """

    def __init__(self, topology: Topology) -> None:
        self._n, self._m = topology.n, topology.m
        self.total = 0
        """All bytes so far, of all rounds; without control bytes and those that were handed over."""
        self._links: list[dict[int, int]] = [{} for _ in range(topology.n)]
        for edge, (i, j) in enumerate(topology.edges.tolist()):
            self._links[i][j], self._links[j][i] = 2 * edge, 2 * edge + 1
        self._clear()

    def _clear(self) -> None:
        self._sent, self._over = [0] * self._n, [0] * (2 * self._m)
        self._control = self._handed_over = 0

    def link(self, sender: int, receiver: int) -> int:
        """The number of a directed link: twice that of its edge (i, j), 1 more from j to i; -1 for none."""
        return self._links[sender].get(receiver, -1)

    def add(self, sender: int, receiver: int, size: int) -> None:
        """Counts a message of some bytes, whether or not it arrives."""
        self._sent[sender] += size
        self.total += size
        link = self._links[sender].get(receiver, -1)
        if link >= 0:
            self._over[link] += size

    def add_control(self, size: int) -> None:
        """Counts bytes of headers and notifications, which are no models."""
        self._control += size

    def add_hand_over(self, size: int) -> None:
        """Counts bytes that a node hands over to the one that takes its place."""
        self._handed_over += size

    def take(self) -> Traffic:
        """What was sent since it was asked for last."""
        edges = np.array(self._over, np.int64).reshape(-1, 2)
        traffic = Traffic(
            np.array(self._sent, np.int64), edges, control=self._control, handed_over=self._handed_over
        )
        self._clear()
        return traffic
