"""One process's place on the wire: it sends messages to its contacts, and receives theirs."""

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dml.network.contacts import Contact
from dml.network.correspondence import SLICE, Correspondence, Owner
from dml.network.errors import Late, WireError
from dml.network.header import Header, Key, Scalar
from dml.network.keys import KeyPair
from dml.network.limits import Limits
from dml.network.link import Link
from dml.network.message import Message, encode

if TYPE_CHECKING:
    from torch import Tensor

Wanted = Key | Callable[[Message], bool] | None
"""A message that is waited for: by its key, by a condition, or any."""

LIMITS = Limits()

LOOPBACK = "tcp://127.0.0.1:*"


class Endpoint:
    """One process's place on the wire.

    It encrypts all that it sends, talks to no process whose key it does not know, and takes a message only
    from the process that it names as its sender. A contact with an address is connected to. A contact without
    one must connect to us, and is answered over that connection.

    A message arrives once, or the sender learns nothing of it because one of the processes ended. Connections
    that break are made again, and what was under way is sent again. Messages come in any order, and are told
    apart by their keys.

    An endpoint belongs to the thread that made it: others may call :meth:`wake` alone. It works while it is
    called. While the process computes, messages wait in the queues of the sockets, and connections are kept
    alive.

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
        self._kept: dict[Key, Message] = {}
        self._restarted: list[str] = []
        self._closed = False
        owner = Owner(self._keep, self._began_anew)
        self._all = Correspondence(name, run, keys, listen, limits, say, owner)
        self.traffic = self._all.traffic
        self.address = self._all.address
        """The address on which it listens, with the number of the port; None if it does not."""
        try:
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
        return {name: link.contact for name, link in self._all.links.items()}

    @property
    def refused(self) -> Mapping[str, int]:
        """The number of refused messages and connections by reason."""
        self._all.note_strangers()
        return self._all.refusals.counts

    def add(self, contact: Contact) -> None:
        """Adds a contact, and begins to connect to it if it has an address.

        Raises:
            ValueError: there is one with this name.
            InputError: its host does not resolve.
        """
        if contact.name in self._all.links or contact.name == self.name:
            raise ValueError(f"two contacts have the name {contact.name}")
        self._all.add(contact)

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
        if size > self._all.limits.message:
            most = self._all.limits.message
            raise WireError("too large", f"{header.key} of {size} bytes; at most {most} are allowed")
        waiting = [self._all.links[name] for name in ([to] if isinstance(to, str) else to)]
        deadline = time.monotonic() + seconds
        while True:
            waiting = [link for link in waiting if not self._all.hand_over(link, frames, size)]
            left = deadline - time.monotonic()
            if not waiting:
                return
            if left <= 0:
                raise self._late(waiting, f"did not take {header.key} within {seconds:g} s")
            self._all.work(min(SLICE, left))

    def receive(self, wanted: Wanted = None, *, seconds: float) -> Message:
        """Waits for a message. Others that come meanwhile are kept.

        Args:
            wanted: the key of the message, or a condition that it must meet; of several, the first that came.
            seconds: the longest time to wait. With 0, it takes what is there.

        Raises:
            Late: it did not come.
            ValueError: there is no such contact.
        """
        if isinstance(wanted, Key) and wanted.sender not in self._all.links:
            raise ValueError(f"there is no contact {wanted.sender}")
        deadline = time.monotonic() + seconds
        last = False
        while (message := self._take(wanted)) is None:
            left = deadline - time.monotonic()
            if last:
                raise self._missing(wanted, seconds)
            last = left <= 0
            self._all.work(max(0.0, left))
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
        return self._all.links[name].is_connected

    def reachable(self, name: str) -> bool:
        """Whether a message may get to the contact, over our own connection or over the contact's."""
        return self._all.links[name].is_reachable

    def serve(self, seconds: float) -> None:
        """Does for some time what it does while it waits: receives, confirms, and sends again."""
        deadline = time.monotonic() + seconds
        self._all.work(0)
        while (left := deadline - time.monotonic()) > 0:
            self._all.work(left)

    def wait(self, seconds: float) -> bool:
        """Works until there is a message, another thread calls :meth:`wake`, or the time is over.

        Returns:
            Whether there is a message, which :meth:`receive` returns at once.
        """
        deadline = time.monotonic() + seconds
        self._all.work(0)
        while not self._kept and not self._all.bell.rung() and (left := deadline - time.monotonic()) > 0:
            self._all.work(left)
        return bool(self._kept)

    def wake(self) -> None:
        """Ends a :meth:`wait`, or the next one if nobody waits. Any thread may call this at any time."""
        self._all.bell.ring()

    def close(self, seconds: float = 2.0) -> None:
        """Closes all connections, after the contacts that are connected have confirmed what was sent.

        Args:
            seconds: the longest time to wait for them.
        """
        if self._closed:
            return
        self._closed = True
        self._all.close(seconds)

    def _take(self, wanted: Wanted) -> Message | None:
        if isinstance(wanted, Key):
            return self._pop(wanted) if wanted in self._kept else None
        for key, message in self._kept.items():
            if wanted is None or wanted(message):
                return self._pop(key)
        return None

    def _pop(self, key: Key) -> Message:
        """Takes a kept message. If messages were dropped for want of room, they are asked for again."""
        link = self._all.links[key.sender]
        del link.kept[key]
        if link.overflowed and len(link.kept) <= self._all.limits.kept // 2:
            link.overflowed = not self._all.ask_again(link)
        return self._kept.pop(key)

    def _keep(self, message: Message, size: int) -> None:
        """Keeps a message until it is asked for."""
        key = message.header.key
        self._kept[key] = message
        self._all.links[key.sender].kept[key] = size

    def _began_anew(self, name: str) -> None:
        self._restarted.append(name)
        self.forget(lambda message: message.header.sender == name)

    def _missing(self, wanted: Wanted, seconds: float) -> Late:
        if isinstance(wanted, Key):
            late = f"sent no {wanted} within {seconds:g} s"
            return self._late([self._all.links[wanted.sender]], late)
        return self._late(
            list(self._all.links.values()), f"sent no message that was waited for within {seconds:g} s"
        )

    def _late(self, links: list[Link], what: str) -> Late:
        names = [link.contact.name for link in links]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        whys = {self._why(link) for link in links}
        return Late(shown, what, whys.pop() if len(whys) == 1 else "")

    def _why(self, link: Link) -> str:
        if link.trouble:
            return link.trouble
        if not link.is_connected:
            return "it has not connected"
        return "" if link.has_room(0) else "it does not confirm what it was sent"
