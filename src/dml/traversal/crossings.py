"""The messages of one phase on a clock: how long each of them takes to cross a link."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crossings:
    """One message to each node and one back, in b virtual batches.

    If visits are relayed, these are messages from the orchestrator and back, and cross one link after the
    other. If they are collected along a tree, they come from the node before on the tree, and the one back
    waits for all those from behind the node.

    Args:
        used: which nodes they go to, [b, n]; never to the orchestrator.
        down: the seconds that the message to each node takes to cross a link, [b, n]; 0 without a message.
        up: the same for the message back, [b, n].
        work: the seconds that each node computes in between, [b, n].
        latency: the seconds that every message travels besides.
        unasked: nodes begin by themselves, and there are no messages to them. Visits that are collected have
            messages both ways.
        unanswered: there are no messages back.
    """

    used: NDArray[np.bool_]
    down: NDArray[np.float64]
    up: NDArray[np.float64]
    work: NDArray[np.float64]
    latency: float
    unasked: bool = False
    unanswered: bool = False

    def of(self, batches: NDArray[np.int64]) -> "Crossings":
        """Those of some of the batches, in that order."""
        return replace(
            self,
            used=self.used[batches],
            down=self.down[batches],
            up=self.up[batches],
            work=self.work[batches],
        )
