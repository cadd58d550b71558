"""How much one process takes from another, and how long it waits for signs of life."""

from dataclasses import dataclass

CHUNK = 2**18
"""The largest number of bytes in one frame. Small frames are encrypted while others are under way."""

HEADER = 2**16
"""The largest number of bytes in a header."""


@dataclass(frozen=True)
class Limits:
    """The limits of an endpoint. All of them hold for each contact.

    Args:
        message: the largest number of bytes in a message.
        kept: the largest number of messages that have come and that nobody has asked for yet.
        kept_bytes: the largest number of bytes in these, of which one message may take more.
        unconfirmed: the largest number of messages that were sent and that the contact has not confirmed.
        unconfirmed_bytes: the largest number of bytes in these, of which one message may take more.
        silence: seconds without a sign of life after which a connection is given up and made anew.
        handshake: seconds for the hand-shake of a connection.
    """

    message: int = 2**30
    kept: int = 256
    kept_bytes: int = 2**29
    unconfirmed: int = 64
    unconfirmed_bytes: int = 2**28
    silence: float = 10.0
    handshake: float = 5.0
