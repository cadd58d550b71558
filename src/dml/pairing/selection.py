"""Which peer to ask: one of those that are not at rest, at random, and rarely one that has not answered.

The probabilities are those of the simulation (:mod:`dml.algorithms.pairwise.peers`). A peer that has not
answered rests, twice as long after each failure in a row, up to a limit. One that is connected again, or has
begun anew, rests no longer.
"""

from collections.abc import Collection, Sequence

import numpy as np

from dml.algorithms.pairwise.peers import Peers

_LONGEST = 16
"""The longest rest, in rests after a first failure."""


class Selection:
    """The peers of one peer, with their scores and rests.

    Args:
        names: of the peers.
        rate: weight of the latest answer in a score.
        exploration: share of the choices that are uniform.
        rest: seconds after the first failure of a peer.
    """

    def __init__(self, names: Sequence[str], rate: float, exploration: float, rest: float) -> None:
        self._names, self._rest = list(names), rest
        self._peers = Peers([range(len(names))], rate, exploration)
        self._failures = [0] * len(names)
        self._until = [0.0] * len(names)

    def choose(self, u: float, now: float, without: Collection[str] = ()) -> str | None:
        """A peer to ask; None if all are at rest.

        Args:
            u: a uniform number in [0, 1).
            now: the time in seconds.
            without: peers that are not to be asked.
        """
        awake = [k for k, name in enumerate(self._names) if self._until[k] <= now and name not in without]
        if not awake:
            return None
        ends = self._peers.probabilities(0)[awake].cumsum()
        # The last end may be below the product by rounding.
        return self._names[awake[min(int(np.searchsorted(ends, u * ends[-1], "right")), len(awake) - 1)]]

    def answered(self, name: str) -> None:
        """A peer has sent its model."""
        k = self._names.index(name)
        self._peers.record(0, k, True)
        self._failures[k] = 0

    def failed(self, name: str, now: float) -> None:
        """A peer has not sent its model; it rests."""
        k = self._names.index(name)
        self._peers.record(0, k, False)
        self._until[k] = now + self._rest * min(2 ** self._failures[k], _LONGEST)
        self._failures[k] = min(self._failures[k] + 1, _LONGEST)

    def empty(self, name: str, now: float) -> None:
        """A peer has nothing to send yet; it rests for a moment, and its score stays."""
        self._until[self._names.index(name)] = now + self._rest

    def back(self, name: str) -> None:
        """A peer is connected again, or has begun anew."""
        k = self._names.index(name)
        self._until[k], self._failures[k] = 0.0, 0
