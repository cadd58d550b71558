"""How a peer fetches the model of another one."""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dml.algorithms.pairwise.interpolation import Header
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.message import Message
from dml.pairing.answers import ASK, DIFFERENT, EMPTY, MODEL
from dml.pairing.layout import Layout, copy, finite
from dml.pairing.selection import Selection

if TYPE_CHECKING:
    from dml.pairing.layout import Rows

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Fetch:
    """A model that is to be fetched.

    The thread that trains makes it and waits until it is over. Until then, the rows that take the model
    belong to the thread that fetches; from then to the next fetch, to the one that trains.

    Args:
        number: of the fetch, from 0.
        deadline: when it is given up.
    """

    number: int
    deadline: float
    over: threading.Event = field(default_factory=threading.Event)
    header: Header | None = None
    """What the peer says about its model; None if no model was fetched."""


class Fetching:
    """Fetches one model at a time. All calls come from the thread of the endpoint.

    Args:
        endpoint: asks and receives.
        layout: of the model.
        rows: take the numbers of the fetched model.
        selection: of the peers.
        uniform: draws a number in [0, 1).
        counts: of what fetches have come to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        layout: Layout,
        rows: "Rows",
        selection: Selection,
        uniform: Callable[[], float],
        counts: Counter[str],
    ) -> None:
        self._endpoint, self._layout, self._selection = endpoint, layout, selection
        self._uniform, self._counts = uniform, counts
        self._rows = rows
        self._fetch: Fetch | None = None
        self._peer = ""
        self._asked: set[str] = set()
        self._missing: set[int] = set()
        self._header: Header | None = None
        self._told: set[str] = set()

    def begin(self, fetch: Fetch, now: float) -> None:
        """Begins a fetch; the last one is over."""
        if self._fetch is not None:
            self._end("late", failed=now)
        self._fetch, self._asked = fetch, set()
        self._ask(now)

    def go_on(self, now: float) -> None:
        """Ends a fetch that takes too long."""
        if self._fetch is not None and self._fetch.deadline <= now:
            self._end("late", failed=now)

    def due(self, now: float) -> float:
        """Seconds until there is something to do."""
        return math.inf if self._fetch is None else max(0.0, self._fetch.deadline - now)

    def began_anew(self, name: str, now: float) -> None:
        """A peer's process has been replaced, and does not know that it was asked."""
        if self._fetch is not None and name == self._peer:
            self._ask(now)

    def received(self, message: Message, now: float) -> None:
        """Takes an answer. One to an earlier request is dropped.

        Raises:
            WireError: it is not as it must be. The peer's model is not taken.
        """
        header = message.header
        if self._fetch is None or (header.sender, header.number) != (self._peer, self._fetch.number):
            return
        if header.kind == MODEL:
            try:
                self._take(message)
            except WireError:
                self._end("refused", failed=now)
                raise
            if not self._missing:
                self._end("fetched", taken=self._header)
        elif header.kind == EMPTY:
            self._selection.empty(self._peer, now)
            self._counts["empty"] += 1
            self._ask(now)
        elif header.kind == DIFFERENT:
            self._selection.failed(self._peer, now)
            self._counts["different"] += 1
            if self._peer not in self._told:
                self._told.add(self._peer)
                _logger.warning(
                    "%s has a model with other tensors than this one; it is not mixed in", self._peer
                )
            self._ask(now)

    def _ask(self, now: float) -> None:
        """Asks a peer that was not asked for this fetch yet; ends the fetch if there is none."""
        assert self._fetch is not None
        while (peer := self._selection.choose(self._uniform(), now, self._asked)) is not None:
            self._asked.add(peer)
            self._peer, self._header = peer, None
            self._missing = set(range(len(self._layout.pieces)))
            try:
                scalars = {"layout": self._layout.code}
                self._endpoint.send(peer, ASK, self._fetch.number, seconds=0, scalars=scalars)
                return
            except Late:
                self._selection.failed(peer, now)
                self._counts["unreachable"] += 1
        self._end("nobody")

    def _take(self, message: Message) -> None:
        number = message.header.phase
        if number not in self._missing:
            raise WireError("unexpected", f"piece {number} of {len(self._layout.pieces)} from {self._peer}")
        piece = self._layout.pieces[number]
        numbers = message.tensor("x", (piece.stop - piece.start,), piece.dtype)
        if not finite(numbers):
            raise WireError("unexpected", f"the model from {self._peer} holds numbers that are not finite")
        clock = message.scalar("clock", float)
        # A peer whose loss is not finite leaves it out.
        loss = message.scalar("loss", float) if "loss" in message.header.scalars else math.nan
        self._header = Header(float(clock), float(loss))
        copy(numbers, self._rows[piece.dtype][piece.start : piece.stop])
        self._missing.remove(number)

    def _end(self, count: str, *, failed: float | None = None, taken: Header | None = None) -> None:
        """Ends the fetch.

        Args:
            count: what it has come to.
            failed: now, if the peer has not done what it should.
            taken: what the peer says about the model, if there is one.
        """
        assert self._fetch is not None
        self._counts[count] += 1
        if failed is not None:
            self._selection.failed(self._peer, failed)
        elif taken is not None:
            self._selection.answered(self._peer)
        fetch, self._fetch = self._fetch, None
        fetch.header = taken
        fetch.over.set()
