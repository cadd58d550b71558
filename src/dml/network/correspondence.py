"""The messages between one process and its contacts: who may send, what has arrived, what is sent again."""

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from dml.network import sockets
from dml.network.connections import ROUTE, Arrival, Change, Connections, NoRouteError
from dml.network.contacts import Contact
from dml.network.counts import Refusals, Traffic, on_wire
from dml.network.envelope import SIZE, Envelope, Sort
from dml.network.errors import WireError
from dml.network.header import Header
from dml.network.keys import KeyPair
from dml.network.limits import Limits
from dml.network.link import Frames, Link
from dml.network.message import Message, decode, encode, read_header

SLICE = 0.02
"""Seconds between two attempts to hand a message to a socket that is full."""

_GREET_AGAIN = 0.5
"""Seconds after which a contact that refused a greeting is greeted again."""

_CONNECT_AGAIN = 0.5
"""Seconds after which a connection is made anew if ZeroMQ does not begin to, as after a refused key."""


class Owner(NamedTuple):
    """What the owner of a correspondence does with what comes.

    Args:
        keep: takes a message and its size in bytes.
        began_anew: takes the name of a contact whose process has ended and begun anew.
    """

    keep: Callable[[Message, int], None]
    began_anew: Callable[[str], None]


class Correspondence:
    """The messages between one process and its contacts.

    Args:
        name: of this process.
        run: the id of the run.
        keys: the pair of this process.
        listen: the address on which it listens; None if it only connects.
        limits: of the endpoint.
        say: takes one line for each kind of refusal.
        owner: what is done with what comes.

    Raises:
        InputError: the port is in use, or the host is not one of this machine's.
    """

    def __init__(
        self,
        name: str,
        run: str,
        keys: KeyPair,
        listen: str | None,
        limits: Limits,
        say: Callable[[str], None] | None,
        owner: Owner,
    ) -> None:
        self._name, self._run, self._owner = name, run, owner
        self.limits = limits
        self.session = secrets.randbits(63) + 1
        self.links: dict[str, Link] = {}
        self.traffic = Traffic()
        self.refusals = Refusals(say)
        self._connections = Connections(keys, limits, listen, secrets.token_bytes(16))
        self.address = self._connections.address
        self.bell = self._connections.bell

    def add(self, contact: Contact) -> None:
        """Adds a contact, and begins to connect to it if it has an address.

        Raises:
            InputError: its host does not resolve.
        """
        if contact.address is not None:
            self._connections.connect(contact)
        self.links[contact.name] = Link(contact, self.session, self.limits)
        self._connections.admit(frozenset(link.contact.public_key for link in self.links.values()))

    def hand_over(self, link: Link, frames: Frames, size: int) -> bool:
        """Gives a message to the contact's socket, if there is room and a connection."""
        if not link.has_room(size) or not self._push(link, link.envelope(Sort.MESSAGE), frames):
            return False
        link.sent(frames)
        return True

    def ask_again(self, link: Link) -> bool:
        """Asks a contact to send again what has not been kept; False if its socket does not take this."""
        return self._tell(link, Sort.GREETING)

    def work(self, seconds: float) -> None:
        """Does what is due, and takes what comes, waiting for it for at most some seconds."""
        self.note_strangers()
        now = time.monotonic()
        for link in self.links.values():
            self._send_again(link)
            if link.greet_at <= now:
                self._greet(link)
            if link.connect_at <= now:
                link.connect_at = float("inf")
                self._connections.connect_again(link.contact.name)
            due = now + SLICE if link.to_send_again() else min(link.greet_at, link.connect_at)
            seconds = min(seconds, due - now)
        for found in self._connections.wait(seconds):
            if isinstance(found, Change):
                self._changed(self.links[found.name], found)
            else:
                self._take(found)

    def note_strangers(self) -> None:
        """Counts the connections that were refused."""
        for key, host in self._connections.strangers():
            self.refusals.add(host, "wrong key", f"{key or 'none'} belongs to no contact")

    def close(self, seconds: float) -> None:
        """Closes all connections, after the contacts that can be reached have confirmed what was sent.

        Args:
            seconds: the longest time to wait for them.
        """
        links = self.links.values() if seconds > 0 else []
        deadline = time.monotonic() + seconds
        for link in links:
            if link.owes or link.unconfirmed():
                self._tell(link, Sort.GREETING if link.unconfirmed() else Sort.CONFIRMATION)
        while (left := deadline - time.monotonic()) > 0 and any(
            link.unconfirmed() and link.is_reachable for link in links
        ):
            self.work(min(SLICE, left))
        self._connections.close(frozenset(link.contact.name for link in links if link.is_reachable))

    # Sending.

    def _push(self, link: Link, envelope: bytes, frames: Frames) -> bool:
        """Gives frames to the contact's socket; False if it does not take them now."""
        name = link.contact.name
        parts = [envelope + frames[0], *frames[1:]]
        # A contact that we cannot reach, such as one behind a firewall, may have reached us.
        if link.route is not None and not link.connected:
            try:
                taken = self._connections.answer(link.route, parts)
            except NoRouteError:
                link.route = None
                taken = False
        else:
            taken = self._connections.put(name, parts)
        if taken:
            link.confirmed()
            self.traffic.sent[name] += on_wire(map(len, parts))
        return taken

    def _tell(self, link: Link, sort: Sort) -> bool:
        """Sends what has no body: it confirms what has come."""
        header = Header(run=self._run, sender=self._name, kind=sort.name.lower())
        return self._push(link, link.envelope(sort), encode(header))

    def _greet(self, link: Link) -> None:
        """Says over a connection what has come, so that both sides send again what has not."""
        told = self._tell(link, Sort.GREETING)
        link.greet_at = float("inf") if told else time.monotonic() + SLICE

    def _send_again(self, link: Link) -> None:
        """Sends what is to be sent again, as much as the socket takes."""
        while (found := link.to_send_again()) is not None:
            number, frames = found
            if not self._push(link, link.envelope(Sort.REPETITION, number), frames):
                return
            link.sent_again()

    def _refuse(self, route: bytes | None, why: str) -> None:
        """Tells a process why it is refused, if it connected to us."""
        if route is None:
            return
        header = Header(run=self._run, sender=self._name, kind="refusal", scalars={"why": why})
        envelope = Envelope(Sort.REFUSAL, self.session, 0, 0, 0).pack()
        with contextlib.suppress(NoRouteError):
            self._connections.answer(route, [envelope + encode(header)[0]])

    # Connections.

    def _changed(self, link: Link, change: Change) -> None:
        """Follows what happens to a connection of ours."""
        if change.kind == sockets.CONNECTED:
            link.connected, link.trouble = True, ""
            link.connect_at = float("inf")
            link.unheard = True
            link.doubt()
            self._greet(link)
        elif change.kind == sockets.RETRIED:
            link.connect_at = float("inf")
        elif change.kind == sockets.NOBODY:
            link.trouble = change.trouble
        else:
            # A connection is also lost when what comes over it was changed on the way.
            if link.connected:
                link.trouble = sockets.TROUBLES[sockets.LOST]
            elif change.kind != sockets.LOST:
                link.trouble = change.trouble
            link.connected = False
            link.connect_at = time.monotonic() + _CONNECT_AGAIN

    # Receiving.

    def _take(self, arrival: Arrival) -> None:
        try:
            self._accept(arrival)
        except WireError as error:
            who = arrival.name or self._known_by(str(arrival.frames[-1].get("User-Id")))
            self.refusals.add(who, error.reason, error.detail)
            if error.reason == "other version":
                # It cannot read this, but it sees the version.
                self._refuse(arrival.route, error.detail)

    def _known_by(self, key: str) -> str:
        """The contacts with a key, in words."""
        names = [name for name, link in self.links.items() if link.contact.public_key == key]
        return names[0] if len(names) == 1 else f"one of {len(names)} contacts with one key"

    def _accept(self, arrival: Arrival) -> None:
        """Takes what came from one contact.

        Raises:
            WireError: it is refused.
        """
        first = arrival.frames[0].bytes
        envelope = Envelope.unpack(first)
        header, rest = read_header(first[SIZE:])
        link = self._sender(arrival, header)
        name = link.contact.name
        sizes = list(map(len, arrival.frames))
        self.traffic.received[name] += on_wire(sizes)
        if envelope.sort == Sort.REFUSAL:
            link.trouble = "it refuses us: " + str(header.scalars.get("why", ""))[:200]
            link.doubt()
            link.greet_at = time.monotonic() + _GREET_AGAIN
            raise WireError("refused us", link.trouble)
        if header.run != self._run:
            self._refuse(arrival.route, f"{self._name} runs {self._run} and not {header.run}")
            raise WireError("wrong run", f"{name} sends for the run {header.run} and not {self._run}")
        if not self._meet(link, envelope.session, arrival.route):
            return
        link.confirm(envelope.other, envelope.confirmed)
        if envelope.sort in (Sort.MESSAGE, Sort.REPETITION):
            body = [memoryview(rest), *(frame.buffer.cast("B") for frame in arrival.frames[1:])]
            self._message(link, header, envelope, body, sum(sizes))
            return
        link.begins(envelope.number)
        if envelope.sort == Sort.GREETING:
            self._tell(link, Sort.CONFIRMATION)
            link.doubt()
        link.repeat_what_is_doubtful()

    def _sender(self, arrival: Arrival, header: Header) -> Link:
        """The contact that sent something.

        Raises:
            WireError: it names itself by the name of another.
        """
        link = self.links.get(arrival.name or header.sender)
        if link is None or link.contact.name != header.sender:
            raise WireError("wrong name", f"it says that it is {header.sender}, who is not known here")
        if arrival.name is None and arrival.frames[0].get("User-Id") != link.contact.public_key:
            raise WireError("wrong name", f"it says that it is {header.sender}, with the key of another")
        return link

    def _meet(self, link: Link, session: int, route: bytes | None) -> bool:
        """Learns which process speaks for a contact, and where to answer it.

        Returns:
            False if what came was left behind by a process that has ended and been replaced.

        Raises:
            WireError: another one speaks for it, and its connection stands.
        """
        name = link.contact.name
        if route is not None and link.other not in (0, session):
            if session in link.former and not self._leads_somewhere(link, route):
                return False
            if self._stands(link):
                self._refuse(route, f"{name} is connected already, from another process")
                raise WireError("taken name", f"a second process says that it is {name}; the first one stays")
        if link.meet(session):
            self._owner.began_anew(name)
            # It may have been told to wait for messages that only the last one could have got.
            link.greet_at = 0.0
        if route is None:
            link.unheard = False
        elif route.startswith(ROUTE):
            # What the last connection left behind comes from a route that leads nowhere.
            link.route = route
            link.trouble = ""
        return True

    def _leads_somewhere(self, link: Link, route: bytes) -> bool:
        """Whether a connection that was made to us still stands, which only sending something tells."""
        header = Header(run=self._run, sender=self._name, kind="confirmation")
        first, *_ = encode(header)
        try:
            self._connections.answer(route, [link.envelope(Sort.CONFIRMATION) + first])
        except NoRouteError:
            return False
        return True

    def _stands(self, link: Link) -> bool:
        """Whether a connection to the process that speaks for a contact stands."""
        if link.connected:
            return not link.unheard
        # The socket that listens says so only when it is given something to send.
        self._tell(link, Sort.CONFIRMATION)
        return link.route is not None

    def _message(self, link: Link, header: Header, envelope: Envelope, body: Frames, size: int) -> None:
        """Gives a message to the owner, once.

        Raises:
            WireError: it is refused.
        """
        name, number, repeated = link.contact.name, envelope.number, envelope.sort == Sort.REPETITION
        if not link.is_new(number):
            if link.arrived_again(number, repeated):
                return
            raise WireError("replay", f"{header.key} of {name} has come before")
        if not link.is_sound(number):
            raise WireError("damaged", f"{header.key} of {name} has the number {number}")
        if not link.has_place(size):
            # It is not confirmed, and is asked for again when there is room.
            link.overflowed = True
            raise WireError("too many", f"{name} sends more before it is needed than is kept")
        at_once = link.arrived(number, size, repeated)
        if size > self.limits.message:
            raise WireError("too large", f"{header.key} of {name} has {size} bytes")
        if not link.first_time(header.key, envelope.other):
            if link.is_sent_anew(header.key):
                return
            raise WireError("replay", f"{header.key} of {name} has come before")
        self._owner.keep(decode(header, body, link.other), size)
        if at_once:
            self._tell(link, Sort.CONFIRMATION)
