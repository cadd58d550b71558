"""What an execution asks of the engine that trains one model on virtual batches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.traversal.plan import EpochPlan


@dataclass(frozen=True)
class BatchesRequest:
    """One optimiser step on each of some batches of a pass. It is answered for each node's own samples.

    Args:
        plan: of the pass.
        first, stop: which batches: from ``first`` up to, and without, ``stop``.
        rates: the learning rate of each step, [stop - first].
        begins: the request begins a round: the optimiser starts again, unless it is kept.
        ends: the request ends a round.
    """

    plan: EpochPlan
    first: int
    stop: int
    rates: NDArray[np.float64]
    begins: bool = False
    ends: bool = False

    @property
    def places(self) -> slice:
        """Where its samples stand in the plan."""
        return slice(int(self.plan.bounds[self.first]), int(self.plan.bounds[self.stop]))

    @property
    def sizes(self) -> list[int]:
        """How many samples each of the batches has."""
        sizes: list[int] = np.diff(self.plan.bounds[self.first : self.stop + 1]).tolist()
        return sizes
