"""The connections of an endpoint, and what comes over them. It knows nothing of messages."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zmq

from dml.network import sockets
from dml.network.bell import Bell
from dml.network.contacts import Contact
from dml.network.gate import Gate
from dml.network.keys import KeyPair
from dml.network.limits import Limits

ROUTE = b"\x01"
"""Begins the id that a process gives its connections; those that ZeroMQ gives begin with 0."""

_MOST_AT_ONCE = 32
"""The number of messages that are read from one socket before the others have their turn."""

_LINGER = 100
"""Milliseconds in which a socket that is closed may still send what it has."""

Parts = Sequence[bytes | memoryview]


class NoRouteError(Exception):
    """A connection that was made to us stands no longer."""


@dataclass(frozen=True)
class Arrival:
    """What came over a connection.

    Args:
        name: of the contact, if we made the connection; None if it was made to us.
        route: where to answer, if it was made to us.
        frames: what came. Those that came over a connection to us tell the sender's public key as `User-Id`.
    """

    name: str | None
    route: bytes | None
    frames: list[zmq.Frame]


@dataclass(frozen=True)
class Change:
    """What happened to a connection that we made, or try to make.

    Args:
        name: of the contact.
        kind: what happened, one of the events of `sockets`.
        trouble: what is wrong, in words; empty if nothing is.
    """

    name: str
    kind: zmq.Event
    trouble: str


class Connections:
    """The connections of an endpoint.

    Args:
        keys: the pair of this process.
        limits: of the endpoint.
        listen: the address on which it listens; None if it only connects.
        identity: of this process, random, by which others tell its connections from those of others.

    Raises:
        InputError: the port is in use, or the host is not one of this machine's.
    """

    def __init__(self, keys: KeyPair, limits: Limits, listen: str | None, identity: bytes) -> None:
        self._keys, self._limits, self._identity = keys, limits, ROUTE + identity
        self._context: sockets.Context = zmq.Context()
        self._poller = zmq.Poller()
        self._dealers: dict[str, sockets.Socket] = {}
        self._names: dict[sockets.Socket, str] = {}  # Of sockets that connect, and of their monitors.
        self._monitors: set[sockets.Socket] = set()
        self._router: sockets.Socket | None = None
        self._gate: Gate | None = None
        self.address: str | None = None
        self.bell = Bell()
        self._poller.register(self.bell.fileno(), zmq.POLLIN)
        if listen is None:
            return
        self._gate = Gate(self._context, frozenset())
        try:
            self._router = sockets.listening(self._context, listen, keys, limits)
        except BaseException:
            self.close()
            raise
        self.address = sockets.address_of_socket(self._router)
        self._poller.register(self._router, zmq.POLLIN)

    def admit(self, keys: frozenset[str]) -> None:
        """From now on accepts connections of these public keys."""
        if self._gate is not None:
            self._gate.keys = keys

    def strangers(self) -> Iterator[tuple[str, str]]:
        """The connections that were refused since the last call: public key, and number of the host."""
        while self._gate is not None and self._gate.refused:
            yield self._gate.refused.popleft()

    def connect(self, contact: Contact) -> None:
        """Begins to connect to a contact with an address.

        Raises:
            InputError: its host does not resolve.
        """
        dealer, monitor = sockets.connecting(self._context, contact, self._keys, self._limits, self._identity)
        self._dealers[contact.name] = dealer
        self._monitors.add(monitor)
        for socket in (dealer, monitor):
            self._names[socket] = contact.name
            self._poller.register(socket, zmq.POLLIN)

    def connect_again(self, name: str) -> None:
        """Connects again to a contact, as ZeroMQ itself does not after a fault of the protocol."""
        sockets.connect_again(self._dealers[name])

    def put(self, name: str, parts: Parts) -> bool:
        """Sends over the connection that we made to a contact; False if it does not take it now."""
        if name not in self._dealers:
            return False
        try:
            self._dealers[name].send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def answer(self, route: bytes, parts: Parts) -> bool:
        """Sends over a connection that was made to us; False if it does not take it now.

        Raises:
            NoRouteError: the connection stands no longer.
        """
        assert self._router is not None
        try:
            self._router.send_multipart([route, *parts], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            raise NoRouteError from None
        return True

    def wait(self, seconds: float) -> Iterator[Arrival | Change]:
        """What has come or happened, after waiting for it for at most some seconds."""
        for socket, _ in self._poller.poll(math.ceil(1000 * max(0.0, seconds))):
            if socket == self.bell.fileno():
                self.bell.hear()
            elif socket in self._monitors:
                while (found := sockets.event(socket)) is not None:
                    yield Change(self._names[socket], *found)
            else:
                yield from self._read(socket)

    def _read(self, socket: sockets.Socket) -> Iterator[Arrival]:
        for _ in range(_MOST_AT_ONCE):
            if not socket.poll(0):
                return
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            route = frames.pop(0).bytes if socket is self._router else None
            yield Arrival(self._names.get(socket), route, frames)

    def close(self, keep: frozenset[str] = frozenset()) -> None:
        """Closes all connections.

        Args:
            keep: the contacts to which what is queued may still be sent, for a moment. If there are any, this
                holds for connections that were made to us, too.
        """
        for name, dealer in self._dealers.items():
            dealer.disable_monitor()
            dealer.close(linger=_LINGER if name in keep else 0)
        for monitor in self._monitors:
            monitor.close(linger=0)
        if self._router is not None:
            self._router.close(linger=_LINGER if keep else 0)
        self.bell.close()
        self._context.term()
        if self._gate is not None:
            self._gate.join()
