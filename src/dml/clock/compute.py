"""The simulated time of local training."""

import numpy as np
from numpy.typing import NDArray

from dml.clock.draws import Draws, uniforms
from dml.clock.laws import Law

_PURPOSE = "compute time"


class ComputeTimes:
    """The seconds that an update takes: its steps x the factor of its node x one draw from the law.

    Args:
        law: the distribution of the time of one step.
        factors: of each node, [n].
        seed: the experiment's seed.
    """

    def __init__(self, law: Law, factors: NDArray[np.float64], seed: int) -> None:
        self._law, self._factors, self._seed = law, factors, seed
        self._of_node: list[float] = factors.tolist()
        self._constant = law.mean if law.name == "constant" else None
        self._draw = Draws(seed, _PURPOSE, law.seconds)

    def __call__(self, node: int, number: int, steps: int) -> float:
        """The seconds of one update.

        Args:
            node: that trains.
            number: of updates that the node has begun before.
            steps: of its optimiser.
        """
        draw = self._draw(node, number) if self._constant is None else self._constant
        return steps * self._of_node[node] * draw

    def many(
        self, nodes: NDArray[np.int64], numbers: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The seconds of several updates, the same as one by one; the arguments are broadcast.

        Args:
            nodes: that train.
            numbers: of updates that each of them has begun before.
            steps: of each.
        """
        if self._constant is not None:
            return steps * self._factors[nodes] * self._constant
        draws = self._law.seconds(uniforms(self._seed, _PURPOSE, nodes, numbers))
        return steps * self._factors[nodes] * draws
