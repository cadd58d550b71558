"""One process's place on the wire: it sends messages to its contacts, and receives theirs."""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import zmq

from dml.network import sockets
from dml.network.contacts import Contact
from dml.network.counts import Refusals, Traffic, on_wire
from dml.network.envelope import SIZE, Envelope, Sort
from dml.network.errors import Late, WireError
from dml.network.gate import Gate
from dml.network.header import Header, Key, Scalar
from dml.network.keys import KeyPair
from dml.network.limits import Limits
from dml.network.link import Frames, Link
from dml.network.message import Message, decode, encode, read_header

if TYPE_CHECKING:
    from torch import Tensor

Wanted = Key | Callable[[Message], bool] | None
"""A message that is waited for: by its key, by a condition, or any."""

LIMITS = Limits()

LOOPBACK = "tcp://127.0.0.1:*"

_ROUTE = b"\x01"
"""Begins the id that a process gives its connections; those that ZeroMQ gives begin with 0."""

_SLICE = 0.02
"""Seconds between two attempts to hand a message to a socket that is full."""

_GREET_AGAIN = 0.5
"""Seconds after which a contact that refused a greeting is greeted again."""

_CONNECT_AGAIN = 0.5
"""Seconds after which a connection is made anew if ZeroMQ does not begin to, as after a refused key."""

_MOST_AT_ONCE = 32
"""The number of messages that are read from one socket before the others have their turn."""


class Endpoint:
    """One process's place on the wire.

    It encrypts all that it sends, talks to no process whose key it does not know, and takes a message only
    from the process that it names as its sender. A contact with an address is connected to. A contact without
    one must connect to us, and is answered over that connection.

    A message arrives once, or the sender learns nothing of it because one of the processes ended. Connections
    that break are made again, and what was under way is sent again. Messages come in any order, and are told
    apart by their keys.

    An endpoint belongs to the thread that made it: no other may call it. It works while it is called. While
    the process computes, messages wait in the queues of the sockets, and connections are kept alive.

    Args:
        name: the name by which the contacts know this process.
        run: the id of the run, which all contacts share; messages of other runs are refused.
        keys: the pair of this process.
        contacts: whom it talks to.
        listen: the address on which it listens; None if it only connects. The port ``*`` takes a free one.
        limits: of sizes, numbers and times.
        say: takes one line for each kind of refusal; by default it becomes a warning of the log.

    Raises:
        InputError: a port is in use, a host does not resolve, or two contacts have one name.
    """

    def __init__(
        self,
        name: str,
        run: str,
        keys: KeyPair,
        contacts: Iterable[Contact] = (),
        listen: str | None = LOOPBACK,
        limits: Limits = LIMITS,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.run = name, run
        self.traffic = Traffic()
        self._refusals = Refusals(say)
        self._keys, self._limits = keys, limits
        self._session = secrets.randbits(63) + 1
        self._identity = _ROUTE + secrets.token_bytes(16)
        self._links: dict[str, Link] = {}
        self._kept: dict[Key, Message] = {}
        self._restarted: list[str] = []
        self._context: sockets.Context = zmq.Context()
        self._poller = zmq.Poller()
        self._owners: dict[sockets.Socket, Link] = {}  # Of sockets that connect, and of their monitors.
        self._monitors: set[sockets.Socket] = set()
        self._dealers: dict[str, sockets.Socket] = {}
        self._router: sockets.Socket | None = None
        self._gate: Gate | None = None
        self._closed = False
        self.address: str | None = None
        """The address on which it listens, with the number of the port; None if it does not."""
        try:
            if listen is not None:
                self._gate = Gate(self._context, frozenset())
                self._router = sockets.listening(self._context, listen, keys, limits)
                self.address = sockets.address_of_socket(self._router)
                self._poller.register(self._router, zmq.POLLIN)
            for contact in contacts:
                self.add(contact)
        except BaseException:
            self.close(0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error, nobody waits for others.
        self.close(0 if kind else 2)

    @property
    def contacts(self) -> dict[str, Contact]:
        """The contacts by name."""
        return {name: link.contact for name, link in self._links.items()}

    @property
    def refused(self) -> Mapping[str, int]:
        """The number of refused messages and connections by reason."""
        self._note_strangers()
        return self._refusals.counts

    def add(self, contact: Contact) -> None:
        """Adds a contact, and begins to connect to it if it has an address.

        Raises:
            ValueError: there is one with this name.
            InputError: its host does not resolve.
        """
        if contact.name in self._links or contact.name == self.name:
            raise ValueError(f"two contacts have the name {contact.name}")
        link = Link(contact, self._session, self._limits)
        if contact.address is not None:
            made = sockets.connecting(self._context, contact, self._keys, self._limits, self._identity)
            self._dealers[contact.name] = made[0]
            self._monitors.add(made[1])
            for socket in made:
                self._owners[socket] = link
                self._poller.register(socket, zmq.POLLIN)
        self._links[contact.name] = link
        if self._gate is not None:
            self._gate.keys = frozenset(one.contact.public_key for one in self._links.values())

    def send(
        self,
        to: str | Iterable[str],
        kind: str,
        number: int = 0,
        phase: int = 0,
        *,
        seconds: float,
        algorithm: str = "",
        scalars: Mapping[str, Scalar | list[Scalar]] | None = None,
        tensors: "Mapping[str, Tensor] | None" = None,
    ) -> None:
        """Sends a message. It returns when the sockets have taken it; the tensors may then change.

        While it waits, it receives: what comes is kept for :meth:`receive`.

        Args:
            to: the name of a contact, or several, for whom the message is encoded once.
            kind: what it is, such as ``model``.
            number: of the round or the batch.
            phase: within the round or the batch.
            seconds: the longest time to wait until all contacts are connected and have room.
            algorithm: the name of the algorithm.
            scalars: values by name.
            tensors: tensors by name, on any device.

        Raises:
            Late: some contacts are not connected, or do not take messages; to them, it is not sent.
            WireError: the message is too large, or holds what cannot be sent.
        """
        header = Header.checked(
            run=self.run,
            sender=self.name,
            kind=kind,
            number=number,
            phase=phase,
            algorithm=algorithm,
            scalars=dict(scalars or {}),
        )
        frames = encode(header, tensors)
        size = sum(map(len, frames))
        if size > self._limits.message:
            most = self._limits.message
            raise WireError("too large", f"{header.key} of {size} bytes; at most {most} are allowed")
        waiting = [self._links[name] for name in ([to] if isinstance(to, str) else to)]
        deadline = time.monotonic() + seconds
        while True:
            waiting = [link for link in waiting if not self._hand_over(link, frames, size)]
            left = deadline - time.monotonic()
            if not waiting:
                return
            if left <= 0:
                raise self._late(waiting, f"did not take {header.key} within {seconds:g} s")
            self._pump(min(_SLICE, left))

    def receive(self, wanted: Wanted = None, *, seconds: float) -> Message:
        """Waits for a message. Others that come meanwhile are kept.

        Args:
            wanted: the key of the message, or a condition that it must meet; of several, the first that came.
            seconds: the longest time to wait. With 0, it takes what is there.

        Raises:
            Late: it did not come.
            ValueError: there is no such contact.
        """
        if isinstance(wanted, Key) and wanted.sender not in self._links:
            raise ValueError(f"there is no contact {wanted.sender}")
        deadline = time.monotonic() + seconds
        last = False
        while (message := self._take(wanted)) is None:
            left = deadline - time.monotonic()
            if last:
                raise self._missing(wanted, seconds)
            last = left <= 0
            self._pump(max(0.0, left))
        return message

    def forget(self, condition: Callable[[Message], bool]) -> int:
        """Drops kept messages that nobody will ask for; returns their number."""
        keys = [key for key, message in self._kept.items() if condition(message)]
        for key in keys:
            self._pop(key)
        return len(keys)

    def restarted(self) -> list[str]:
        """The contacts whose process has ended and begun anew since the last call.

        Such a process has received nothing of what was sent before, and what the last one sent and nobody has
        received is dropped. What it needs must be sent again.
        """
        names, self._restarted = self._restarted, []
        return names

    def connected(self, name: str) -> bool:
        """Whether a connection to the contact stands, as far as is known."""
        link = self._links[name]
        return link.connected or link.route is not None

    def serve(self, seconds: float) -> None:
        """Does for some time what it does while it waits: receives, confirms, and sends again."""
        deadline = time.monotonic() + seconds
        self._pump(0)
        while (left := deadline - time.monotonic()) > 0:
            self._pump(left)

    def close(self, seconds: float = 2.0) -> None:
        """Closes all connections, after the contacts that are connected have confirmed what was sent.

        Args:
            seconds: the longest time to wait for them.
        """
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + seconds
        for link in self._links.values():
            if seconds > 0 and (link.owes or link.unconfirmed()):
                self._tell(link, Sort.GREETING if link.unconfirmed() else Sort.CONFIRMATION)
        while (left := deadline - time.monotonic()) > 0 and any(
            link.unconfirmed() and self.connected(link.contact.name) for link in self._links.values()
        ):
            self._pump(min(_SLICE, left))
        for name, dealer in self._dealers.items():
            dealer.disable_monitor()
            dealer.close(linger=100 if self._links[name].connected and seconds > 0 else 0)
        for monitor in self._monitors:
            monitor.close(linger=0)
        if self._router is not None:
            self._router.close(linger=100 if seconds > 0 else 0)
        self._context.term()
        if self._gate is not None:
            self._gate.join()

    # Sending.

    def _hand_over(self, link: Link, frames: Frames, size: int) -> bool:
        """Gives a message to the contact's socket, if there is room and a connection."""
        if not link.has_room(size) or not self._push(link, link.envelope(Sort.MESSAGE), frames):
            return False
        link.sent(frames)
        return True

    def _push(self, link: Link, envelope: bytes, frames: Frames) -> bool:
        """Gives frames to the contact's socket; False if it does not take them now."""
        name = link.contact.name
        socket = self._dealers.get(name)
        if link.route is not None and not link.connected:
            # A contact that we cannot reach, such as one behind a firewall, may have reached us.
            socket = None
        parts: list[bytes | memoryview] = [envelope + frames[0], *frames[1:]]
        try:
            if socket is not None:
                socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
            elif self._router is not None and link.route is not None:
                self._router.send_multipart([link.route, *parts], zmq.NOBLOCK, copy=False)
            else:
                return False
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            link.route = None
            return False
        link.confirmed()
        self.traffic.sent[name] += on_wire(map(len, parts))
        return True

    def _tell(self, link: Link, sort: Sort) -> bool:
        """Sends what has no body: it confirms what has come."""
        header = Header(run=self.run, sender=self.name, kind=sort.name.lower())
        return self._push(link, link.envelope(sort), encode(header))

    def _greet(self, link: Link) -> None:
        """Says over a connection what has come, so that both sides send again what has not."""
        told = self._tell(link, Sort.GREETING)
        link.greet_at = float("inf") if told else time.monotonic() + _SLICE

    def _send_again(self, link: Link) -> None:
        """Sends what is to be sent again, as much as the socket takes."""
        while (found := link.to_send_again()) is not None:
            number, frames = found
            if not self._push(link, link.envelope(Sort.REPETITION, number), frames):
                return
            link.sent_again()

    # Receiving.

    def _take(self, wanted: Wanted) -> Message | None:
        if isinstance(wanted, Key):
            return self._pop(wanted) if wanted in self._kept else None
        for key, message in self._kept.items():
            if wanted is None or wanted(message):
                return self._pop(key)
        return None

    def _pop(self, key: Key) -> Message:
        """Takes a kept message. If messages were dropped for want of room, they are asked for again."""
        link = self._links[key.sender]
        del link.kept[key]
        if link.overflowed and len(link.kept) <= self._limits.kept // 2:
            link.overflowed = not self._tell(link, Sort.GREETING)
        return self._kept.pop(key)

    def _pump(self, seconds: float) -> None:
        """Reads what has come, waiting for it for at most some seconds."""
        self._note_strangers()
        now = time.monotonic()
        for link in self._links.values():
            self._send_again(link)
            if link.greet_at <= now:
                self._greet(link)
            if link.connect_at <= now:
                link.connect_at = float("inf")
                sockets.connect_again(self._dealers[link.contact.name])
            due = now + _SLICE if link.to_send_again() else min(link.greet_at, link.connect_at)
            seconds = min(seconds, due - now)
        for socket, _ in self._poller.poll(math.ceil(1000 * max(0.0, seconds))):
            if socket in self._monitors:
                self._watch(socket, self._owners[socket])
            else:
                self._read(socket)

    def _watch(self, monitor: sockets.Socket, link: Link) -> None:
        """Follows what happens to a connection of ours."""
        while True:
            kind, trouble = sockets.event(monitor)
            if kind is None:
                return
            if kind == sockets.CONNECTED:
                link.connected, link.trouble = True, ""
                link.connect_at = float("inf")
                link.unheard = True
                link.doubt()
                self._greet(link)
            elif kind == sockets.RETRIED:
                link.connect_at = float("inf")
            elif kind == sockets.NOBODY:
                link.trouble = trouble
            else:
                # A connection is also lost when what comes over it was changed on the way.
                if link.connected:
                    link.trouble = sockets.TROUBLES[sockets.LOST]
                elif kind != sockets.LOST:
                    link.trouble = trouble
                link.connected = False
                link.connect_at = time.monotonic() + _CONNECT_AGAIN

    def _read(self, socket: sockets.Socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            if not socket.poll(0):
                return
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            route = frames.pop(0).bytes if socket is self._router else None
            owner = self._owners.get(socket)
            try:
                self._accept(frames, owner, route)
            except WireError as error:
                who = owner.contact.name if owner else self._known_by(str(frames[-1].get("User-Id")))
                self._refusals.add(who, error.reason, error.detail)
                if error.reason == "other version":
                    # It cannot read this, but it sees the version.
                    self._refuse(route, error.detail)

    def _known_by(self, key: str) -> str:
        """The contacts with a key, in words."""
        names = [name for name, link in self._links.items() if link.contact.public_key == key]
        return names[0] if len(names) == 1 else f"one of {len(names)} contacts with one key"

    def _accept(self, frames: list[zmq.Frame], owner: Link | None, route: bytes | None) -> None:
        """Takes what came from one contact.

        Args:
            frames: the frames without the route.
            owner: the contact, if it came over our connection to it.
            route: where it came from, if it came to the socket that listens.

        Raises:
            WireError: it is refused.
        """
        first = frames[0].bytes
        envelope = Envelope.unpack(first)
        header, rest = read_header(first[SIZE:])
        link = owner or self._links.get(header.sender)
        if link is None or link.contact.name != header.sender:
            raise WireError("wrong name", f"it says that it is {header.sender}, who is not known here")
        if owner is None and frames[0].get("User-Id") != link.contact.public_key:
            raise WireError("wrong name", f"it says that it is {header.sender}, with the key of another")
        name = link.contact.name
        sizes = list(map(len, frames))
        size = sum(sizes)
        self.traffic.received[name] += on_wire(sizes)
        if envelope.sort == Sort.REFUSAL:
            link.trouble = "it refuses us: " + str(header.scalars.get("why", ""))[:200]
            link.doubt()
            link.greet_at = time.monotonic() + _GREET_AGAIN
            raise WireError("refused us", link.trouble)
        if header.run != self.run:
            self._refuse(route, f"{self.name} runs {self.run} and not {header.run}")
            raise WireError("wrong run", f"{name} sends for the run {header.run} and not {self.run}")
        self._meet(link, envelope.session, route)
        link.unheard = link.unheard and owner is None
        link.confirm(envelope.other, envelope.confirmed)
        if envelope.sort in (Sort.MESSAGE, Sort.REPETITION):
            self._keep(link, header, envelope, [rest, *(frame.buffer for frame in frames[1:])], size)
            return
        if envelope.sort == Sort.GREETING:
            self._tell(link, Sort.CONFIRMATION)
            link.doubt()
        link.repeat_what_is_doubtful()

    def _meet(self, link: Link, session: int, route: bytes | None) -> None:
        """Learns which process speaks for a contact, and where to answer it.

        Raises:
            WireError: another one speaks for it, and its connection stands.
        """
        name = link.contact.name
        if route is not None and link.other not in (0, session) and self._stands(link):
            self._refuse(route, f"{name} is connected already, from another process")
            raise WireError("taken name", f"a second process says that it is {name}; the first one stays")
        if link.meet(session):
            self._restarted.append(name)
            self.forget(lambda message: message.header.sender == name)
        # What the last connection left behind comes from a route that leads nowhere.
        if route is not None and route.startswith(_ROUTE):
            link.route = route
            link.trouble = ""

    def _stands(self, link: Link) -> bool:
        """Whether a connection to the process that speaks for a contact stands."""
        if link.connected:
            return not link.unheard
        # The socket that listens says so only when it is given something to send.
        self._tell(link, Sort.CONFIRMATION)
        return link.route is not None

    def _refuse(self, route: bytes | None, why: str) -> None:
        """Tells a process why it is refused, if it connected to us."""
        if route is None or self._router is None:
            return
        header = Header(run=self.run, sender=self.name, kind="refusal", scalars={"why": why})
        envelope = Envelope(Sort.REFUSAL, self._session, 0, 0, 0).pack()
        try:
            self._router.send_multipart([route, envelope + encode(header)[0]], zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def _keep(self, link: Link, header: Header, envelope: Envelope, body: Frames, size: int) -> None:
        """Keeps a message until it is asked for.

        Raises:
            WireError: it is refused.
        """
        name, number = link.contact.name, envelope.number
        if not link.is_new(number):
            link.arrived_again()
            if envelope.sort == Sort.REPETITION:
                return
            raise WireError("replay", f"{header.key} of {name} has come before")
        if not link.is_sound(number):
            raise WireError("damaged", f"{header.key} of {name} has the number {number}")
        if not link.has_place(size):
            # It is not confirmed, and is asked for again when there is room.
            link.overflowed = True
            raise WireError("too many", f"{name} sends more before it is needed than is kept")
        at_once = link.arrived(number, size)
        if size > self._limits.message:
            raise WireError("too large", f"{header.key} of {name} has {size} bytes")
        if not link.first_time(header.key):
            raise WireError("replay", f"{header.key} of {name} has come before")
        message = decode(header, body, link.other)
        self._kept[header.key] = message
        link.kept[header.key] = size
        if at_once:
            self._tell(link, Sort.CONFIRMATION)

    def _note_strangers(self) -> None:
        while self._gate is not None and self._gate.refused:
            key, host = self._gate.refused.popleft()
            self._refusals.add(host, "wrong key", f"{key or 'none'} belongs to no contact")

    # Errors.

    def _missing(self, wanted: Wanted, seconds: float) -> Late:
        if isinstance(wanted, Key):
            late = f"sent no {wanted} within {seconds:g} s"
            return self._late([self._links[wanted.sender]], late)
        return self._late(
            list(self._links.values()), f"sent no message that was waited for within {seconds:g} s"
        )

    def _late(self, links: list[Link], what: str) -> Late:
        names = [link.contact.name for link in links]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        whys = {self._why(link) for link in links}
        return Late(shown, what, whys.pop() if len(whys) == 1 else "")

    def _why(self, link: Link) -> str:
        if link.trouble:
            return link.trouble
        if not self.connected(link.contact.name):
            return "it has not connected"
        return "" if link.has_room(0) else "it does not confirm what it was sent"
