"""Push averaging with sum weights: a node sends its model with half of its weight, and waits for nobody.

Each node has a weight w_i, 1 at first. After an update, node i halves it, and the other half goes to a peer j
together with x_i. A share (y, v), a model with a weight, joins a node's own as

    x_j <- (w_j x_j + v y) / (w_j + v)          w_j <- w_j + v

so the weighted sum of all models and shares, sum w x + sum v y, moves by updates alone, and the sum of all
weights never does. What becomes of a share that is lost:

    push           it joins its sender again: half of the weight is given away only once that is acknowledged
    running_sum    it stays on its link, and joins the next share that is sent over it

``push`` is GoSGD (Blot et al. 2016, arXiv 1611.09726) over links that lose messages. An acknowledgement, or
the news that there is none, is a few bytes, which are sent until they arrive.

``running_sum`` is push-sum by running sums (Hadjicostis, Vaidya, Dominguez-Garcia 2016): a message carries
the sum of all that was ever sent over its link, and its receiver takes up what is new to it. So no node need
know what has arrived. Such sums would grow without end; here a link holds what its receiver lacks.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.pairwise.options import PairwiseOptions
from dml.algorithms.pairwise.rule import Pairwise

if TYPE_CHECKING:
    from dml.simulation.simulation import Simulation

ARRIVED, LOST, ACKNOWLEDGED = range(3)
"""The share that node a sent to b has arrived or was lost, or a knows that it has arrived."""


class SumWeights(Pairwise):
    """A weight per node.

    Args:
        simulation: the run; row i of X is node i's model.
        options: of the algorithm.
        acknowledged: whether the sender takes a lost share back; otherwise it stays on its link.
    """

    waits = False

    def __init__(self, simulation: "Simulation", options: PairwiseOptions, acknowledged: bool) -> None:
        super().__init__(simulation, options, numbers=1)
        self.weight = [1.0] * simulation.n
        self._acknowledged = acknowledged

    def turn_to(self, node: int, peer: int) -> None:
        """Sends half of the weight, with what has stayed on the link."""
        simulation, model = self.simulation, self.simulation.rows[node]
        self.weight[node] /= 2
        v = self.weight[node]
        if (node, peer) in self.messages:
            waiting, weights = self.messages[node, peer]
            weights[0] += v
            waiting.lerp_(model, v / weights[0])
        else:
            self.messages.put((node, peer), model, v)
        self.control(1)
        arrives = simulation.arrives(node, peer)
        simulation.after(simulation.send(node, peer), ARRIVED if arrives else LOST, node, peer)

    def on(self, kind: int, a: int, b: int) -> None:
        """The share joins the peer, or its sender again, or stays where it is."""
        if kind == ACKNOWLEDGED:
            self.over(a, b, True)
            return
        arrived = kind == ARRIVED and self.simulation.available[b]
        if arrived:
            self._join(b, (a, b))
        elif self._acknowledged:
            self._join(a, (a, b))
        if arrived and self._acknowledged:
            self.control(1)
            self.simulation.after(self.simulation.send(b, a, models=0), ACKNOWLEDGED, a, b)
        else:
            self.over(a, b, False if self._acknowledged else None)

    def _join(self, node: int, link: tuple[int, int]) -> None:
        """A share that is not finite is gone."""
        model, (v,) = self.messages.take(link)
        total = self.weight[node] + v
        # Weights are halved again and again, and may end at 0 by underflow.
        if self.finite(model) and total:
            self.simulation.rows[node].lerp_(model, v / total)
            self.weight[node] = total

    def failed(self, node: int, lost: list[int]) -> None:
        """A share that the node has sent, and that has not arrived, counts as lost."""
        super().failed(node, lost)
        if self._acknowledged:
            for link in self.messages.of(node):
                self._join(node, link)

    def state(self) -> dict[str, NDArray[Any]]:
        """The weights, besides the shares under way."""
        return {**super().state(), "weight": np.array(self.weight)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned."""
        super().load_state(state)
        if state["weight"].shape != (self.simulation.n,):
            raise ValueError(f"weight has the shape {state['weight'].shape}")
        self.weight = state["weight"].tolist()
