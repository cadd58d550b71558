"""Symmetric averaging: both nodes take the mean of the two models, at one instant.

    x_i, x_j <- (x_i + x_j) / 2

The nodes send each other their models at the same time. When the later one has arrived, they average what
they hold then, so the mean of all models moves by updates alone. If a message is lost, neither averages.
"""

from typing import TYPE_CHECKING

from dml.algorithms.pairwise.options import PairwiseOptions
from dml.algorithms.pairwise.rule import Pairwise

if TYPE_CHECKING:
    from dml.simulation.simulation import Simulation

MET, LOST = range(2)
"""Both models have arrived, or one of them was lost; node a has begun."""


class Swap(Pairwise):
    """Nothing is remembered besides the models.

    Args:
        simulation: the run; row i of X is node i's model.
        options: of the algorithm.
    """

    def __init__(self, simulation: "Simulation", options: PairwiseOptions) -> None:
        super().__init__(simulation, options)
        self.waits = not options.overlap

    def turn_to(self, node: int, peer: int) -> None:
        """Both models set out; a peer that has failed sends none."""
        simulation = self.simulation
        seconds, arrives = simulation.send(node, peer), simulation.arrives(node, peer)
        if simulation.available[peer]:
            seconds = max(seconds, simulation.send(peer, node))
            arrives = simulation.arrives(peer, node) and arrives
        else:
            arrives = False
        simulation.after(seconds, MET if arrives else LOST, node, peer)

    def on(self, kind: int, a: int, b: int) -> None:
        """Averages, unless a message was lost."""
        met = kind == MET and self.simulation.available[b]
        if met:
            first, second = self.simulation.rows[a], self.simulation.rows[b]
            if self.finite(first, second):
                first.add_(second).mul_(0.5)
                second.copy_(first)
        self.over(a, b, met)
