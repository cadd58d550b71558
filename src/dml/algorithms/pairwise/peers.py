"""Which peer a node turns to: a random one, and rarely one whose messages have been lost.

A node keeps a score s_k for each of its K neighbours, 1 at first, which is the moving average of what its
messages with k have come to:

    s_k <- (1 - a) s_k + a [the message arrived]
    P(k) = e / K + (1 - e) s_k / sum of all s

With the exploration e > 0, no peer's probability falls below e / K, however many messages were lost; a peer
that works again is therefore found, and its score rises again. In dpwa, a peer with ten lost messages was
never chosen any more.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class Peers:
    """The neighbours of all nodes, with the scores that each node gives to its own.

    Args:
        neighbours: of each node, ascending, n lists.
        rate: a, the weight of the latest message in a score, in [0, 1]; with 0, all peers remain alike.
        exploration: e, the share of the choices that are uniform, in (0, 1].
    """

    def __init__(self, neighbours: Sequence[Sequence[int]], rate: float, exploration: float) -> None:
        self._of, self._rate, self._exploration = neighbours, rate, exploration
        self._scores = [np.ones(len(peers)) for peers in neighbours]
        # The sums of the probabilities up to each peer, as long as the scores stay what they are.
        self._ends: list[list[float] | None] = [None] * len(neighbours)

    def probabilities(self, node: int) -> NDArray[np.float64]:
        """The probability of each peer of a node, ascending."""
        scores = self._scores[node]
        total = scores.sum()
        shares = scores / total if total > 0 else np.full(len(scores), 1 / len(scores))
        found: NDArray[np.float64] = self._exploration / len(scores) + (1 - self._exploration) * shares
        return found

    def choose(self, node: int, u: float) -> int:
        """A peer of a node that has neighbours.

        Args:
            node: that chooses.
            u: a uniform number in [0, 1).
        """
        ends = self._ends[node]
        if ends is None:
            ends = self._ends[node] = self.probabilities(node).cumsum().tolist()
        # The last end may be below 1 by rounding.
        return self._of[node][min(bisect_right(ends, u), len(ends) - 1)]

    def record(self, node: int, peer: int, arrived: bool) -> None:
        """Takes note of what a message has come to.

        Args:
            node: that chose the peer.
            peer: one of its own.
            arrived: whether the message arrived.
        """
        scores = self._scores[node]
        k = bisect_left(self._of[node], peer)
        if scores[k] != arrived:
            scores[k] += self._rate * (arrived - scores[k])
            self._ends[node] = None

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The scores of all nodes, one after another, for a checkpoint."""
        return {"peer_scores": np.concatenate(self._scores)}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: the scores are missing.
            ValueError: there are others than on this graph.
        """
        scores = np.asarray(state["peer_scores"], np.float64)
        ends = np.cumsum([len(peers) for peers in self._of])
        if scores.shape != (ends[-1],):
            raise ValueError(f"peer_scores has the shape {scores.shape}")
        self._scores = [part.copy() for part in np.split(scores, ends[:-1])]
        self._ends = [None] * len(self._of)
