"""What the background thread of a peer does, again and again: it answers peers and fetches their models."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dml import randomness
from dml.errors import one_line
from dml.network.endpoint import Endpoint
from dml.network.errors import WireError
from dml.network.message import Message
from dml.pairing.answers import ASK, Answers
from dml.pairing.config import PairingConfig
from dml.pairing.fetching import Fetch, Fetching
from dml.pairing.layout import Layout
from dml.pairing.selection import Selection
from dml.pairing.snapshots import Snapshots

if TYPE_CHECKING:
    from dml.pairing.layout import Rows

_logger = logging.getLogger(__name__)

_LONGEST_WAIT = 1.0
"""Seconds after which the thread looks at everything, even if nothing has happened."""

_MOST_AT_ONCE = 64
"""The number of messages after which the thread looks at what else is to be done."""

_NAP, _LONGEST_NAP = 0.0005, 0.05
"""Seconds for which the thread sleeps while the other one publishes; and altogether, if that takes long."""


@dataclass
class Shared:
    """What the thread that trains and the background thread know.

    Args:
        layout: of the model.
        snapshots: the published models.
        rows: the numbers of the fetched model; see :class:`Fetch`.
        publishing: whether the thread that trains publishes, and goes first.
        fetch: the latest fetch; None before the first one.
        counts: what the fetches have come to.
    """

    layout: Layout
    snapshots: Snapshots
    rows: "Rows"
    publishing: bool = False
    fetch: Fetch | None = None
    counts: Counter[str] = field(default_factory=Counter)


class Work:
    """The work of the background thread, which owns the endpoint.

    Args:
        endpoint: with a contact for each neighbour.
        config: the file of peers.
        name: of this peer.
        shared: what both threads know.
    """

    def __init__(self, endpoint: Endpoint, config: PairingConfig, name: str, shared: Shared) -> None:
        self._endpoint, self._shared = endpoint, shared
        names = config.neighbours(name)
        rest = config.backoff_ms / 1000
        self._selection = Selection(names, config.peer_score_rate, config.peer_exploration, rest)
        uniform = randomness.generator(config.seed, "peer to ask", config.names.index(name)).random
        self._answers = Answers(endpoint, shared.snapshots, shared.layout, config.timeout, self._give_way)
        self._fetching = Fetching(
            endpoint, shared.layout, shared.rows, self._selection, uniform, shared.counts
        )
        self._begun: Fetch | None = None
        self._connected = dict.fromkeys(names, False)
        self._refused: set[tuple[str, str]] = set()

    def until(self, closing: Callable[[], bool]) -> None:
        """Works until it is told to end."""
        while not closing():
            now = time.monotonic()
            there = self._endpoint.wait(min(_LONGEST_WAIT, self._answers.due(now), self._fetching.due(now)))
            self._meet(time.monotonic())
            left = _MOST_AT_ONCE
            while there and left:
                self._give_way()
                self._take(self._endpoint.receive(seconds=0), time.monotonic())
                there, left = self._endpoint.wait(0), left - 1
            self._give_way()
            now = time.monotonic()
            fetch = self._shared.fetch
            if fetch is not None and fetch is not self._begun:
                self._begun = fetch
                self._fetching.begin(fetch, now)
            self._fetching.go_on(now)
            self._answers.go_on(now)

    def _give_way(self) -> None:
        """Sleeps while the other thread publishes: two threads of Python delay each other by milliseconds."""
        end = time.monotonic() + _LONGEST_NAP
        while self._shared.publishing and time.monotonic() < end:
            time.sleep(_NAP)

    def _meet(self, now: float) -> None:
        """Learns who has come back."""
        for name in self._endpoint.restarted():
            self._selection.back(name)
            self._answers.forget(name)
            self._fetching.began_anew(name, now)
        for name, before in self._connected.items():
            self._connected[name] = self._endpoint.connected(name)
            if self._connected[name] and not before:
                self._selection.back(name)

    def _take(self, message: Message, now: float) -> None:
        """Takes a message of a peer; what is not as it must be is reported, once for each peer and reason."""
        try:
            if message.header.kind == ASK:
                self._answers.asked(message, now)
            else:
                self._fetching.received(message, now)
        except WireError as error:
            kind = message.header.sender, error.reason
            if kind not in self._refused:
                self._refused.add(kind)
                _logger.warning(one_line(f"refused from {message.header.sender}: {error.detail}"))
