"""The first bytes of everything that is sent: who speaks which version, and what has arrived.

Each process has a session, a random number. It numbers its messages to each contact from 0. What it sends to
the contact also confirms all messages below a number, of a session of the contact.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from dml.network.errors import WireError

PROTOCOL = 1
"""The version of what is on the wire. Other versions are refused by name."""

_MAGIC = b"DML\x00"
_LAYOUT = struct.Struct("<4sHHQQQQ")

SIZE = _LAYOUT.size
"""The number of these bytes."""


class Sort(IntEnum):
    """What is sent."""

    MESSAGE = 0
    """A message, with a body."""
    CONFIRMATION = 1
    """Nothing but what has arrived."""
    GREETING = 2
    """The same, over a new connection: what has not been confirmed is to be sent again."""
    REPETITION = 3
    """A message that may have arrived already."""
    REFUSAL = 4
    """The sender of the last greeting or message is refused, for a reason in words."""


@dataclass(frozen=True)
class Envelope:
    """The first bytes.

    Args:
        sort: what is sent.
        session: of the sender.
        number: of the message among those of this session to this contact; if it is no message, the number of
            the first one that may still come.
        other: the session of the receiver that is meant by ``confirmed``; 0 if the sender knows none.
        confirmed: all messages of that session with a smaller number have arrived.
    """

    sort: Sort
    session: int
    number: int
    other: int
    confirmed: int

    def pack(self) -> bytes:
        """The bytes."""
        numbers = (self.session, self.number, self.other, self.confirmed)
        return _LAYOUT.pack(_MAGIC, PROTOCOL, self.sort, *numbers)

    @classmethod
    def unpack(cls, frame: bytes) -> "Envelope":
        """Reads the beginning of a frame.

        Raises:
            WireError: it is none, or is of another version.
        """
        # The version comes first: another version may have another layout.
        if frame[:4] != _MAGIC or len(frame) < 6:
            raise WireError("damaged", "what came does not begin as a message does")
        version = int.from_bytes(frame[4:6], "little")
        if version != PROTOCOL:
            raise WireError(
                "other version", f"it speaks version {version} of the protocol, and we {PROTOCOL}"
            )
        try:
            _, _, sort, *numbers = _LAYOUT.unpack_from(frame)
            return cls(Sort(sort), *numbers)
        except (struct.error, ValueError):
            raise WireError("damaged", "the first frame is damaged") from None
