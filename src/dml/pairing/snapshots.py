"""The published models of a peer: nobody changes one while somebody reads it, and the writer never waits."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dml.algorithms.pairwise.interpolation import Header

if TYPE_CHECKING:
    from dml.pairing.layout import Rows


_FREE = 2
"""The free room before a model is read: it keeps its own while it is read, and the writer needs some more."""


@dataclass(eq=False)
class Snapshot:
    """A model at one moment.

    Args:
        rows: its numbers.
        header: what its peer says about it.
        readers: how many are reading it.
    """

    rows: "Rows"
    header: Header
    readers: int = 0


class Snapshots:
    """The latest model, those that somebody still reads, and room for the next two.

    One thread publishes, and another one reads. While nobody reads an old model, there is room for three: the
    latest, and two that are free. The thread that reads makes more room before it begins, if it must, so that
    the one that publishes never has to.

    Args:
        make: makes rows.
    """

    def __init__(self, make: "Callable[[], Rows]") -> None:
        self._make = make
        self._lock = threading.Lock()  # Held for an exchange of references only.
        self._free = [make() for _ in range(1 + _FREE)]
        self._latest: Snapshot | None = None
        self._read: set[Snapshot] = set()

    @property
    def count(self) -> int:
        """For how many models there is room."""
        with self._lock:
            return len(self._free) + len(self._read | ({self._latest} if self._latest else set()))

    def publish(self, write: "Callable[[Rows], None]", header: Header) -> None:
        """Publishes a model.

        Args:
            write: copies it into rows.
            header: what is said about it.
        """
        with self._lock:
            rows = self._free.pop()
        write(rows)
        with self._lock:
            last, self._latest = self._latest, Snapshot(rows, header)
            if last is not None and not last.readers:
                self._free_again(last)

    def acquire(self) -> Snapshot | None:
        """The latest model, which stays as it is until it is released; None if there is none."""
        while True:
            with self._lock:
                snapshot = self._latest
                if snapshot is None:
                    return None
                if snapshot.readers or len(self._free) >= _FREE:
                    snapshot.readers += 1
                    self._read.add(snapshot)
                    return snapshot
            rows = self._make()
            with self._lock:
                self._free.append(rows)

    def release(self, snapshot: Snapshot) -> None:
        """Ends the reading of a model."""
        with self._lock:
            snapshot.readers -= 1
            if snapshot.readers:
                return
            self._read.discard(snapshot)
            if snapshot is not self._latest:
                self._free_again(snapshot)

    def _free_again(self, snapshot: Snapshot) -> None:
        if len(self._free) < _FREE:
            self._free.append(snapshot.rows)
