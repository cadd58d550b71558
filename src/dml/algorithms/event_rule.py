"""What every asynchronous algorithm is: what it does when an update or a message of its own has ended.

    rule.begin()                    the first updates start
    rule.ended(slot, node)          an update's change was just added to its row of X
    rule.applied(slot, node)        the same, once the next update at the node has begun
    rule.on(kind, a, b)             an event is due that the rule has scheduled

All of it happens in simulated time, one event after another, on the rows of ``simulation.X``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from dml.simulation.simulation import Simulation


class EventRule(ABC):
    """One asynchronous algorithm with its memory.

    Args:
        simulation: the state of the run, through which it starts updates and sends messages.

    Attributes:
        keeps_optimizers: whether optimisers continue from update to update; otherwise each one starts again.
    """

    keeps_optimizers: bool = True

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation

    @abstractmethod
    def begin(self) -> None:
        """Starts the first updates, at the time 0."""

    def ended(self, slot: int, node: int) -> None:  # noqa: B027
        """Changes models before the next update at this node begins; the arguments are those of `applied`."""

    @abstractmethod
    def applied(self, slot: int, node: int) -> None:
        """Continues after an update; its change has been added to its row, and its slot is free.

        Args:
            slot: of the update.
            node: on whose data it was trained.
        """

    @abstractmethod
    def on(self, kind: int, a: int, b: int) -> None:
        """Does what is due.

        Args:
            kind, a, b: as given to ``simulation.after``.
        """

    @abstractmethod
    def failed(self, node: int, lost: list[int]) -> None:
        """Goes on without a node.

        Args:
            node: that is no longer available.
            lost: the slots of the updates that were under way or waited there, in their order.
        """

    @abstractmethod
    def back(self, node: int) -> None:
        """Goes on with a node that was away, and holds the model with which it left."""

    def memory_slots(self, slots: NDArray[np.int64], nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whose memory the optimiser of each update continues; by default that of its node, [k].

        Args:
            slots: of the updates, [k].
            nodes: on whose data they are trained, [k].
        """
        return nodes

    def singles(self) -> "Mapping[str, Tensor]":
        """Further models that are measured, by name, [P] each."""
        return {}

    def facts(self) -> Mapping[str, int]:
        """What the file says about the run so far, by the attribute's name."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """What the rule remembers besides X, for a checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:  # noqa: B027
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
