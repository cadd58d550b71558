"""Pull averaging, the algorithm of dpwa: a node fetches a peer's model, and only its own model changes.

After an update, node i asks a peer j. When the request arrives, j answers with its model x_j and its header
(clock c_j, loss l_j) as they are then; an update of j that is under way is not part of them. When the answer
arrives, i takes a share f of it (:mod:`dml.algorithms.pairwise.interpolation`):

    x_i <- f x_j + (1 - f) x_i          c_i <- f c_j + (1 - f) c_i

The answer is lost or arrives; requests always arrive. A node whose answer is lost notices that when it would
have arrived. A peer that has not finished an update yet has nothing to publish, and answers without a model.

The mean of all models is not kept: x_i moves towards x_j, and nothing moves the other way.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.pairwise.interpolation import Header
from dml.algorithms.pairwise.options import PairwiseOptions
from dml.algorithms.pairwise.rule import Pairwise

if TYPE_CHECKING:
    from dml.simulation.simulation import Simulation

ASKED, ANSWERED, EMPTY, LOST = range(4)
"""A request of node a has reached the peer b; or b's answer has reached a, with a model or without, or is
lost."""


class Pull(Pairwise):
    """Clocks and losses besides the models.

    Args:
        simulation: the run; row i of X is node i's model.
        options: of the algorithm.
    """

    def __init__(self, simulation: "Simulation", options: PairwiseOptions) -> None:
        super().__init__(simulation, options, numbers=2)
        self.waits = not options.overlap
        self.clock, self.loss = [0.0] * simulation.n, [0.0] * simulation.n
        self.interpolation = options.interpolate()

    def applied(self, slot: int, node: int) -> None:
        """Publishes the update, and may ask a peer."""
        self.clock[node] += 1
        self.loss[node] = self.simulation.updates.loss[slot]
        super().applied(slot, node)

    def turn_to(self, node: int, peer: int) -> None:
        """Asks the peer."""
        self.control(1)
        self.simulation.after(self.simulation.send(node, peer, models=0), ASKED, node, peer)

    def on(self, kind: int, a: int, b: int) -> None:
        """Answers, or mixes what was answered."""
        if kind == ASKED:
            self._answer(a, b)
        elif kind == ANSWERED:
            model, (clock, loss) = self.messages.take((a, b))
            self._mix(a, model, Header(clock, loss))
            self.over(a, b, True)
        else:
            self.over(a, b, None if kind == EMPTY else False)

    def _answer(self, node: int, peer: int) -> None:
        simulation = self.simulation
        if not simulation.available[peer]:
            self.over(node, peer, False)
            return
        self.control(2)
        if not self.clock[peer]:
            simulation.after(simulation.send(peer, node, models=0), EMPTY, node, peer)
            return
        arrives = simulation.arrives(peer, node)
        if arrives:
            self.messages.put((node, peer), simulation.rows[peer], self.clock[peer], self.loss[peer])
        simulation.after(simulation.send(peer, node), ANSWERED if arrives else LOST, node, peer)

    def _mix(self, node: int, model: Any, header: Header) -> None:
        f = self.interpolation(Header(self.clock[node], self.loss[node]), header)
        if f and self.finite(model):
            self.simulation.rows[node].lerp_(model, f)
            self.clock[node] += f * (header.clock - self.clock[node])

    def failed(self, node: int, lost: list[int]) -> None:
        """The answer that is on its way to the node is lost."""
        super().failed(node, lost)
        for link in self.messages.of(node):
            self.messages.take(link)

    def facts(self) -> dict[str, int]:
        """What was refused so far."""
        return {**super().facts(), "refused_headers": self.interpolation.refused}

    def state(self) -> dict[str, NDArray[Any]]:
        """Clocks, losses, and the headers that were refused."""
        return {
            **super().state(),
            "clock": np.array(self.clock),
            "loss": np.array(self.loss),
            "refused_headers": np.array(self.interpolation.refused),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned."""
        super().load_state(state)
        for name in ("clock", "loss"):
            if state[name].shape != (self.simulation.n,):
                raise ValueError(f"{name} has the shape {state[name].shape}")
        self.clock, self.loss = state["clock"].tolist(), state["loss"].tolist()
        self.interpolation.refused = int(state["refused_headers"])
