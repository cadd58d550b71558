"""What one process knows about its messages with one contact, over all connections between the two.

A connection may break with messages under way. They are sent again over the next one, and what arrives twice
is dropped, so that nothing is lost unless one of the two processes ends.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from dml.network.contacts import Contact
from dml.network.envelope import Envelope, Sort
from dml.network.header import Key
from dml.network.limits import Limits

Frames = Sequence[bytes | memoryview]

T = TypeVar("T")

_REMEMBERED = 4096
"""The number of keys, of numbers and of sessions that are remembered to recognise what comes again."""

_MOST_AHEAD = 2**16
"""The largest number of messages that have come before an earlier one; a sound contact causes fewer."""

_CONFIRM_EVERY, _CONFIRM_BYTES = 16, 2**20
"""A confirmation is sent on its own after so many messages or bytes; messages the other way confirm too."""


class Link:
    """The messages to and from one contact.

    Args:
        contact: the other process.
        session: of this process.
        limits: how much may be unconfirmed.
    """

    def __init__(self, contact: Contact, session: int, limits: Limits) -> None:
        self.contact, self._session, self._limits = contact, session, limits
        self.other = 0  # The session of the contact; 0 while it is unknown.
        self.former: OrderedDict[int, None] = OrderedDict()  # Sessions that others have replaced.
        self.route: bytes | None = None  # Where to answer on the socket that listens.
        self.connected = False  # Whether our own connection to the contact stands.
        self.trouble = ""  # The last that is known to be wrong.
        self.overflowed = False  # Whether a message was dropped as too many were kept.
        self.unheard = False  # Whether nothing has come over our own connection since it was made.
        self.greet_at = float("inf")  # When to greet again.
        self.connect_at = float("inf")  # When to connect again, if ZeroMQ does not by itself.
        self.kept: dict[Key, int] = {}  # The sizes of messages that nobody has asked for yet.
        self._doubtful: list[int] = []
        self._again: list[int] = []
        self._next = 0
        self._unconfirmed: OrderedDict[int, Frames] = OrderedDict()
        self._bytes = 0
        self._begin_other(0)

    def _begin_other(self, session: int) -> None:
        self.other = session
        self._arrived = 0  # All numbers below have arrived,
        self._ahead: set[int] = set()  # and these.
        self._overtaken: OrderedDict[int, None] = OrderedDict()  # Those of which a repetition came first.
        self._seen: OrderedDict[Key, None] = OrderedDict()
        self._early: OrderedDict[Key, None] = (
            OrderedDict()
        )  # Those of messages for a process before this one.
        self._owed = self._owed_bytes = 0

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands, as far as is known."""
        if self.contact.address is not None:
            # The route of a process that has ended stays known until something is sent there.
            return self.connected
        return self.route is not None

    @property
    def is_reachable(self) -> bool:
        """Whether something may get there, over our own connection or over the one that was made to us."""
        return self.is_connected or self.route is not None

    def meet(self, session: int) -> bool:
        """Learns the contact's session; True if the contact has begun anew.

        What the contact's last process has not confirmed is dropped.
        """
        if session == self.other:
            return False
        anew = self.other != 0
        if anew:
            _remember(self.former, self.other)
        self._begin_other(session)
        if anew:
            self._unconfirmed.clear()
            self._bytes = 0
        return anew

    # What is sent.

    def has_room(self, size: int) -> bool:
        """Whether another message may be sent before some are confirmed."""
        if not self._unconfirmed:
            return True
        limits = self._limits
        return len(self._unconfirmed) < limits.unconfirmed and self._bytes + size <= limits.unconfirmed_bytes

    def envelope(self, sort: Sort, number: int | None = None) -> bytes:
        """The first frame, of the next message unless its number is given."""
        if sort not in (Sort.MESSAGE, Sort.REPETITION):
            # A process that has begun anew does not get the numbers below: they went to the last one.
            number = next(iter(self._unconfirmed), self._next)
        number = self._next if number is None else number
        return Envelope(sort, self._session, number, self.other, self._arrived).pack()

    def sent(self, frames: Frames) -> None:
        """Keeps the message that was just sent until it is confirmed."""
        self._unconfirmed[self._next] = frames
        self._bytes += sum(map(len, frames))
        self._next += 1

    def confirm(self, session: int, below: int) -> None:
        """Forgets the messages that the contact has."""
        if session != self._session:
            return
        while self._unconfirmed and next(iter(self._unconfirmed)) < below:
            _, frames = self._unconfirmed.popitem(last=False)
            self._bytes -= sum(map(len, frames))

    def unconfirmed(self) -> int:
        """The number of messages that the contact may not have."""
        return len(self._unconfirmed)

    def doubt(self) -> None:
        """Notes that what was sent so far may be lost, as a connection broke or the contact refused it."""
        self._doubtful = list(self._unconfirmed)

    def repeat_what_is_doubtful(self) -> None:
        """Has the messages sent again that may be lost, and that the contact has not confirmed since."""
        self._again = sorted({*self._again, *self._doubtful})
        self._doubtful = []

    def to_send_again(self) -> tuple[int, Frames] | None:
        """The next message to be sent again, if there is one."""
        while self._again and self._again[0] not in self._unconfirmed:
            del self._again[0]
        return (self._again[0], self._unconfirmed[self._again[0]]) if self._again else None

    def sent_again(self) -> None:
        """Notes that this message was sent again."""
        del self._again[0]

    # What arrives.

    def is_new(self, number: int) -> bool:
        """Whether the message with this number has not arrived before."""
        return number >= self._arrived and number not in self._ahead

    def begins(self, number: int) -> None:
        """Notes that no message with a smaller number will come: those went to a process before this one."""
        if self._arrived < number < 2**63:
            self._arrived = number
            self._ahead = {one for one in self._ahead if one >= number}
            self._advance()

    def is_sound(self, number: int) -> bool:
        """Whether a message can have this number."""
        return number == self._arrived or (number < 2**63 and len(self._ahead) < _MOST_AHEAD)

    def arrived(self, number: int, size: int, repeated: bool = False) -> bool:
        """Notes that a message or its repetition has arrived; True if this should be confirmed at once."""
        self._ahead.add(number)
        self._advance()
        if repeated:
            _remember(self._overtaken, number)
        self._owed += 1
        self._owed_bytes += size
        return self._owed >= _CONFIRM_EVERY or self._owed_bytes >= _CONFIRM_BYTES

    def _advance(self) -> None:
        while self._arrived in self._ahead:
            self._ahead.remove(self._arrived)
            self._arrived += 1

    def arrived_again(self, number: int, repeated: bool) -> bool:
        """Notes that a message has come that had arrived; True if the contact has reason to send it twice.

        A contact that has answered over the connection that we made sends again over its own what we have not
        confirmed. The repetition may come first.
        """
        self._owed += 1
        if repeated:
            return True
        if number not in self._overtaken:
            return False
        del self._overtaken[number]
        return True

    def confirmed(self) -> None:
        """Notes that something was sent, which confirms what has arrived."""
        self._owed = self._owed_bytes = 0

    @property
    def owes(self) -> bool:
        """Whether something has arrived that is not confirmed."""
        return self._owed > 0

    def has_place(self, size: int) -> bool:
        """Whether another message can be kept until it is asked for."""
        if not self.kept:
            return True
        return (
            len(self.kept) < self._limits.kept and sum(self.kept.values()) + size <= self._limits.kept_bytes
        )

    def first_time(self, key: Key, meant: int) -> bool:
        """Whether no message with this key has come before; it is remembered.

        Args:
            key: of the message.
            meant: the session to which it was sent; 0 if the contact knew none.
        """
        if key in self._seen:
            return False
        _remember(self._seen, key)
        if meant not in (0, self._session):
            _remember(self._early, key)
        return True

    def is_sent_anew(self, key: Key) -> bool:
        """Whether a message with this key was sent to a process before this one, and came here; True once.

        The contact has learnt since that the process is another one, and cannot know that the message came.
        """
        if key not in self._early:
            return False
        del self._early[key]
        return True


def _remember(these: OrderedDict[T, None], one: T) -> None:
    these[one] = None
    if len(these) > _REMEMBERED:
        these.popitem(last=False)
