"""Updates under way: local trainings that have begun in simulated time, and have not ended.

Each has a slot, which is a row of X. When the update begins, the row holds the model from which it starts.
Once the update has been evaluated, which may be at any time until its end, the row holds its change.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.training.request import Trained

NONE = -1


class Updates:
    """The slots of a simulation.

    Args:
        slots: how many updates may be under way at once.
        n: the number of nodes.
        waits: whether an update waits while its node is busy with another one.

    Attributes:
        row: to which row of X each slot's change will be added, [slots].
        node: whose data each slot trains on, [slots].
        steps: of the optimiser, [slots].
        end: the number of the event that ends each slot's update; ``NONE`` if none is under way, [slots].
        started: the slots that are not evaluated yet, in the order in which they began.
        loss, accuracy, answers, judged: of the slots that are, [slots].
        ready: whether each slot's update is evaluated, [slots].
        begun: the number of updates that have begun at each node, [n].
    """

    def __init__(self, slots: int, n: int, waits: bool) -> None:
        self.row, self.node, self.steps = ([NONE] * slots for _ in range(3))
        self.end = [NONE] * slots
        self.started: list[int] = []
        self.ready = [False] * slots
        self.loss, self.accuracy = [0.0] * slots, [0.0] * slots
        self.answers, self.judged = [0] * slots, [0] * slots
        self.begun = [0] * n
        self._waits = waits
        self._running = [0] * n
        self._queues: list[deque[int]] = [deque() for _ in range(n)]

    def ask(self, slot: int, row: int, node: int, steps: int) -> bool:
        """Puts an update into its slot.

        Returns:
            Whether it begins now, and does not wait for others at its node.
        """
        self.row[slot], self.node[slot], self.steps[slot] = row, node, steps
        if self._waits and (self._running[node] or self._queues[node]):
            self._queues[node].append(slot)
            return False
        return True

    def begin(self, slot: int, end: int) -> None:
        """Notes that an update has begun.

        Args:
            slot: of the update.
            end: the number of the event that ends it.
        """
        node = self.node[slot]
        self.end[slot] = end
        self.begun[node] += 1
        self._running[node] += 1
        self.ready[slot] = False
        self.started.append(slot)

    def take_started(self) -> list[int]:
        """The slots that are not evaluated yet, which count as ready from now on."""
        slots, self.started = self.started, []
        for slot in slots:
            self.ready[slot] = True
        return slots

    def finish(self, slot: int) -> int:
        """Frees a slot whose update is applied or lost; the slot that begins at its node now, or ``NONE``."""
        node = self.node[slot]
        self.end[slot] = NONE
        self._running[node] -= 1
        return self._queues[node].popleft() if self._queues[node] else NONE

    def lose(self, node: int) -> list[int]:
        """Frees all slots of a node that fails, with those that wait; returns them in order."""
        under_way = [slot for slot, end in enumerate(self.end) if end != NONE and self.node[slot] == node]
        waiting = [*self._queues[node]]
        for slot in under_way:
            self.end[slot] = NONE
        self.started = [slot for slot in self.started if slot not in under_way]
        self._queues[node].clear()
        self._running[node] = 0
        return under_way + waiting

    def evaluated(self, slots: Sequence[int], trained: Trained) -> None:
        """Keeps the answer of the engine for some slots."""
        scores = (trained.loss.tolist(), trained.accuracy.tolist())
        counts = (trained.answers.tolist(), trained.judged.tolist())
        for slot, loss, accuracy, answers, judged in zip(slots, *scores, *counts, strict=True):
            self.loss[slot], self.accuracy[slot] = loss, accuracy
            self.answers[slot], self.judged[slot] = answers, judged

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays."""
        waiting = [(node, slot) for node, queue in enumerate(self._queues) for slot in queue]
        return {
            "slots": np.array(
                [self.row, self.node, self.steps, self.end, self.answers, self.judged], np.int64
            ),
            "slot_scores": np.array([self.loss, self.accuracy], np.float64),
            "slots_started": np.array(self.started, np.int64),
            "slots_waiting": np.array(waiting, np.int64).reshape(-1, 2),
            "updates_begun": np.array(self.begun, np.int64),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        slots, n = len(self.row), len(self.begun)
        shapes = {"slots": (6, slots), "slot_scores": (2, slots), "updates_begun": (n,)}
        for name, shape in shapes.items():
            if state[name].shape != shape:
                raise ValueError(f"{name} has the shape {state[name].shape}")
        self.row, self.node, self.steps, self.end, self.answers, self.judged = state["slots"].tolist()
        self.loss, self.accuracy = state["slot_scores"].tolist()
        self.started, self.begun = state["slots_started"].tolist(), state["updates_begun"].tolist()
        self.ready = [True] * slots
        for slot in self.started:
            self.ready[slot] = False
        self._running = [0] * n
        for node, end in zip(self.node, self.end, strict=True):
            self._running[node] += end != NONE
        self._queues = [deque() for _ in range(n)]
        for node, slot in state["slots_waiting"].tolist():
            self._queues[node].append(slot)
