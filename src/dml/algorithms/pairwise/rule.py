"""What all forms of pairwise averaging share: when a node turns to a peer, and to which one."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.event_rule import EventRule
from dml.algorithms.pairwise.messages import Messages
from dml.algorithms.pairwise.options import PairwiseOptions
from dml.algorithms.pairwise.peers import Peers
from dml.exchange.traffic import BYTES_PER_NUMBER

if TYPE_CHECKING:
    from torch import Tensor

    from dml.simulation.simulation import Simulation


class Pairwise(EventRule):
    """One slot per node; after an update, a node may begin one exchange, if its last one is over.

    Args:
        simulation: the run; row i of X is node i's model.
        options: of the algorithm.
        numbers: how many numbers go with a model that is under way.
    """

    waits = True
    """Whether a node's next update starts when its exchange is over."""

    def __init__(self, simulation: "Simulation", options: PairwiseOptions, numbers: int = 0) -> None:
        super().__init__(simulation)
        self.messages = Messages(simulation.rows[0], numbers)
        self.refused = 0
        """Models that were not mixed in because they were not finite."""
        self._options = options
        n = simulation.n
        rate = options.peer_score_rate if options.keeps_scores else 0.0
        self.peers = Peers(simulation.neighbours, rate, options.peer_exploration)
        self._turns, self._chooses = simulation.counter("pull", n), simulation.counter("peer", n)
        self._busy = [False] * n
        """Whether a node's last exchange is under way."""

    def begin(self) -> None:
        """All nodes start at once."""
        for node in range(self.simulation.n):
            self.simulation.start(node, node, node)

    def applied(self, slot: int, node: int) -> None:
        """Turns to a peer, and goes on with the next update, at once or after it."""
        near = self.simulation.neighbours[node]
        turns = self._turns(node) < self._options.pull_probability
        if not near or self._busy[node] or not turns:
            self.simulation.start(node, node, node)
            return
        self._busy[node] = True
        self.turn_to(node, self.peers.choose(node, self._chooses(node)))
        if not self.waits:
            self.simulation.start(node, node, node)

    @abstractmethod
    def turn_to(self, node: int, peer: int) -> None:
        """Begins an exchange."""

    def over(self, node: int, peer: int, arrived: bool | None) -> None:
        """Ends the exchange that a node has begun.

        Args:
            node: that began it.
            peer: with whom.
            arrived: whether the node has had an answer; None if it says nothing about the peer.
        """
        self._busy[node] = False
        if arrived is not None:
            self.peers.record(node, peer, arrived)
        if self.waits:
            self.simulation.start(node, node, node)

    def facts(self) -> dict[str, int]:
        """What was refused so far."""
        return {"refused_models": self.refused}

    def control(self, numbers: int) -> None:
        """Counts the bytes of some numbers that go along with a model, or without one."""
        self.simulation.ledger.add_control(numbers * BYTES_PER_NUMBER)

    def finite(self, *models: "Tensor") -> bool:
        """Whether models may be mixed in; otherwise, they are counted."""
        found = all(math.isfinite(model.sum().item()) for model in models)
        self.refused += not found
        return found

    def failed(self, node: int, lost: list[int]) -> None:
        """Cancels the exchange that the node has begun; its peers learn of its failure by messages alone."""
        self._busy[node] = False
        self.simulation.cancel(lambda kind, a, b: a == node)

    def back(self, node: int) -> None:
        """Starts an update."""
        self.simulation.start(node, node, node)

    def state(self) -> dict[str, NDArray[Any]]:
        """The scores, who is busy, what is under way, and what was counted."""
        return {
            **self.peers.state(),
            **self.messages.state(),
            "busy": np.array(self._busy),
            "refused_models": np.array(self.refused),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned."""
        if state["busy"].shape != (self.simulation.n,):
            raise ValueError(f"busy has the shape {state['busy'].shape}")
        self.peers.load_state(state)
        self.messages.load_state(state)
        self._busy, self.refused = state["busy"].tolist(), int(state["refused_models"])
