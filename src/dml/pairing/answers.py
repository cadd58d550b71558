"""What a peer answers to others: its latest model, in pieces, to several of them at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from dml.network.endpoint import Endpoint
from dml.network.errors import Late
from dml.network.header import Scalar
from dml.network.message import Message
from dml.pairing.layout import Layout
from dml.pairing.snapshots import Snapshot, Snapshots

ASK, MODEL, EMPTY, DIFFERENT = "ask", "model", "empty", "different"
"""The kinds of messages: a request; a piece of a model; there is no model yet; it has other tensors."""

_AT_A_TIME = 4
"""The number of peers that are sent models at the same time, each of which may be another model."""

_PATIENCE = 0.005
"""Seconds to wait for a peer that takes pieces without delay."""

_STALLED = 0.05
"""Seconds between attempts to send to a peer that does not take pieces."""

_YIELDS = 0.25
"""Seconds without progress after which a peer gives way to another one that waits."""


@dataclass
class _Answer:
    """A model on its way to a peer."""

    number: int
    snapshot: Snapshot
    deadline: float
    progress_at: float
    next: int = 0
    retry_at: float = 0.0


class Answers:
    """Sends the latest model to those who ask. All calls come from the thread of the endpoint.

    Args:
        endpoint: sends.
        snapshots: the published models.
        layout: of the model.
        seconds: the longest time for an answer.
        give_way: is called before each piece, and lets the thread that trains go first.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        snapshots: Snapshots,
        layout: Layout,
        seconds: float,
        give_way: Callable[[], None],
    ) -> None:
        self._endpoint, self._snapshots, self._layout = endpoint, snapshots, layout
        self._seconds, self._give_way = seconds, give_way
        self._waiting: dict[str, tuple[int, float]] = {}  # Number and deadline of a request.
        self._answers: dict[str, _Answer] = {}
        self.sent = 0
        """How many models were sent as a whole."""

    def asked(self, message: Message, now: float) -> None:
        """Takes a request. It replaces the last one of the same peer, which has given that up."""
        name, number = message.header.sender, message.header.number
        self.forget(name)
        if message.header.scalars.get("layout") != self._layout.code:
            self._try(name, DIFFERENT, number, seconds=0)
        else:
            self._waiting[name] = number, now + self._seconds

    def forget(self, name: str) -> None:
        """Ends what is under way to a peer."""
        self._waiting.pop(name, None)
        answer = self._answers.pop(name, None)
        if answer is not None:
            self._snapshots.release(answer.snapshot)

    def go_on(self, now: float) -> None:
        """Begins to answer those who wait, and sends a piece to each that is being answered."""
        for name in [name for name, (_, deadline) in self._waiting.items() if deadline < now]:
            self.forget(name)
        for name in [name for name, answer in self._answers.items() if answer.deadline < now]:
            self.forget(name)
        if len(self._waiting) > _AT_A_TIME - len(self._answers):
            for name in [n for n, answer in self._answers.items() if answer.progress_at < now - _YIELDS]:
                self.forget(name)
        for name in list(self._waiting)[: _AT_A_TIME - len(self._answers)]:
            self._begin(name, now)
        for name, answer in list(self._answers.items()):
            if answer.retry_at <= now:
                self._give_way()
                self._send_piece(name, answer, now)

    def due(self, now: float) -> float:
        """Seconds until there is something to do."""
        waits = [max(0.0, answer.retry_at - now) for answer in self._answers.values()]
        return min([*waits, *([_STALLED] if self._waiting else [])], default=1.0)

    def _begin(self, name: str, now: float) -> None:
        number, deadline = self._waiting.pop(name)
        snapshot = self._snapshots.acquire()
        if snapshot is None:
            self._try(name, EMPTY, number, seconds=0)
            return
        self._answers[name] = _Answer(number, snapshot, deadline, now)

    def _send_piece(self, name: str, answer: _Answer, now: float) -> None:
        piece, header = self._layout.pieces[answer.next], answer.snapshot.header
        scalars: dict[str, Scalar | list[Scalar]] = {"clock": header.clock}
        if header.credible:
            scalars["loss"] = header.loss
        numbers = answer.snapshot.rows[piece.dtype][piece.start : piece.stop]
        seconds = 0 if answer.retry_at else _PATIENCE
        try:
            self._endpoint.send(
                name,
                MODEL,
                answer.number,
                answer.next,
                seconds=seconds,
                scalars=scalars,
                tensors={"x": numbers},
            )
        except Late:
            answer.retry_at = now + _STALLED
            return
        answer.next += 1
        answer.retry_at, answer.progress_at = 0.0, now
        if answer.next == len(self._layout.pieces):
            self.sent += 1
            self.forget(name)

    def _try(self, name: str, kind: str, number: int, seconds: float) -> None:
        """Sends what is small, unless the peer does not take it."""
        try:
            self._endpoint.send(name, kind, number, seconds=seconds)
        except Late:
            return
