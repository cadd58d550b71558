"""Events in the order of their time; those of one time in the order in which they were scheduled."""

import hashlib
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

Event = tuple[float, int, int, int, int]
"""(time in seconds, number, kind, a, b); a and b mean what the kind says. No two events have one number."""


class EventQueue:
    """The events that are to come, and a digest of those that have been.

    Attributes:
        digest: the sha256 of all events up to the last :meth:`end_round`, in hexadecimal digits.
    """

    def __init__(self) -> None:
        self._heap: list[Event] = []
        self._next = 0
        self._past: list[Event] = []
        self.digest = hashlib.sha256().hexdigest()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, time: float, kind: int, a: int = 0, b: int = 0) -> int:
        """Schedules an event, and returns its number."""
        number = self._next
        self._next = number + 1
        heappush(self._heap, (time, number, kind, a, b))
        return number

    def pop(self) -> Event:
        """Takes the next event.

        Raises:
            IndexError: there is none.
        """
        event = heappop(self._heap)
        self._past.append(event)
        return event

    def cancel(self, which: Callable[[int, int, int], bool]) -> None:
        """Takes out events that are to come.

        Args:
            which: (kind, a, b) -> whether the event is taken out.
        """
        self._heap = [event for event in self._heap if not which(*event[2:])]
        heapify(self._heap)

    def end_round(self) -> None:
        """Takes the events of the round into the digest."""
        digest = hashlib.sha256(self.digest.encode())
        if self._past:
            time, *rest = zip(*self._past, strict=True)
            digest.update(np.array(time, "<f8").tobytes())
            digest.update(np.array(rest, "<i8").tobytes())
            self._past.clear()
        self.digest = digest.hexdigest()

    def state(self) -> dict[str, NDArray[Any]]:
        """The events to come, by ascending time, and the digest; called between two rounds."""
        events = sorted(self._heap)
        return {
            "queue_time": np.array([event[0] for event in events], np.float64),
            "queue": np.array([event[1:] for event in events], np.int64).reshape(-1, 4),
            "queue_next": np.array(self._next),
            "queue_digest": np.frombuffer(bytes.fromhex(self.digest), np.uint8),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        times, rest = state["queue_time"].tolist(), state["queue"]
        if rest.shape != (len(times), 4) or len(state["queue_digest"]) != 32:
            raise ValueError(f"{len(times)} events have the shape {rest.shape}")
        self._heap = [(time, *event) for time, event in zip(times, rest.tolist(), strict=True)]
        heapify(self._heap)
        self._next = int(state["queue_next"])
        self._past.clear()
        self.digest = state["queue_digest"].astype(np.uint8).tobytes().hex()
