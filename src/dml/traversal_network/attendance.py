"""Which nodes are there: the hand-shake with each of them, at the start and whenever one begins anew."""

import logging
from collections.abc import Mapping, Sequence

from dml.errors import one_line
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.header import Scalar
from dml.network.message import Message
from dml.traversal_network.config import name_of, number_of
from dml.traversal_network.questions import EXPERIMENT, HELLO, LEAVING, READY, REFUSED

_log = logging.getLogger(__name__)

KINDS = frozenset({HELLO, READY, LEAVING})
"""The kinds of messages by which nodes come and go."""

_SECONDS = 5.0
"""For an answer to a node that has just spoken to be taken by the socket."""


class Attendance:
    """Tells each node what it will take part in, and compares what it has made of that.

    Args:
        end: the orchestrator's place on the wire.
        experiment: what a node computes its part and its model from, as scalars of a message.
        parts: the number of samples of each node, and the hash of its part.

    Attributes:
        ready: the nodes that can be asked.
        begun: how often each node has begun, which tells a new process from the last one.
    """

    def __init__(
        self, end: Endpoint, experiment: Mapping[str, Scalar], parts: Sequence[tuple[int, str]]
    ) -> None:
        self._end, self._experiment, self._parts = end, experiment, parts
        self.ready: set[int] = set()
        self.begun = [0] * len(parts)

    @property
    def missing(self) -> list[int]:
        """The nodes that cannot be asked."""
        return [node for node in range(len(self._parts)) if node not in self.ready]

    def serve(self, seconds: float) -> int | None:
        """Takes one message by which a node comes or goes; returns the node, or None if there was none."""
        try:
            return self.take(self._end.receive(lambda message: message.header.kind in KINDS, seconds=seconds))
        except Late:
            return None

    def take(self, message: Message) -> int:
        """Takes such a message; returns the node."""
        node = number_of(message.header.sender)
        self.ready.discard(node)
        if message.header.kind == LEAVING:
            _log.info(f"{name_of(node)} leaves: {one_line(str(message.header.scalars.get('why')))}")
            return node
        try:
            if message.header.kind == HELLO:
                self._tell(node, message)
            else:
                self._compare(node, message)
        except WireError as error:
            self.refuse(node, error.detail)
        return node

    def _tell(self, node: int, message: Message) -> None:
        self.begun[node] += 1
        given = message.scalar("num_nodes", int)
        if given not in (0, len(self._parts)):
            right = f"num_nodes {given}: the orchestrator has {len(self._parts)} nodes"
            raise WireError("unexpected", right)
        self._send(node, EXPERIMENT, self._experiment)

    def _compare(self, node: int, message: Message) -> None:
        count, digest = self._parts[node]
        found = message.scalar("samples", int)
        if found != count:
            raise WireError("unexpected", f"its part has {found} samples instead of {count}")
        if message.scalar("sha256", str) != digest:
            raise WireError("unexpected", f"its {count} samples are others than those of the orchestrator")
        self.ready.add(node)
        _log.info(f"{name_of(node)} is there, with {count} samples; {len(self.ready)} of {len(self._parts)}")

    def refuse(self, node: int, why: str) -> None:
        """Tells a node that it cannot take part. Another process may come in its place."""
        self.ready.discard(node)
        _log.warning(f"{name_of(node)} is refused: {one_line(why)}")
        self._send(node, REFUSED, {"why": one_line(why)[:1000]})

    def _send(self, node: int, kind: str, scalars: Mapping[str, Scalar]) -> None:
        try:
            self._end.send(name_of(node), kind, self.begun[node], seconds=_SECONDS, scalars=scalars)
        except Late:
            # It is gone again, and says so itself when it is back.
            _log.info(f"{name_of(node)} is gone")
