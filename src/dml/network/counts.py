"""What went over the wire, and what was refused."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from dml.errors import one_line

_logger = logging.getLogger(__name__)

_MOST_LINES = 1000
"""The largest number of different refusals that are reported, each by one line."""


def on_wire(sizes: Iterable[int]) -> int:
    """The number of bytes that frames of these sizes take in the stream of a connection.

    Each frame has 33 bytes of encryption (a command's name, a number used once, a flag, and a code that shows
    any change), and then 2 bytes of framing, or 9 if it is longer than 255 bytes.
    """
    total = 0
    for size in sizes:
        total += size + (35 if size + 33 <= 255 else 42)
    return total


class Traffic:
    """Bytes on the wire by contact, with everything but hand-shakes and signs of life."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()


class Refusals:
    """Counts what was refused by reason, and reports each kind of refusal once, as one line.

    Args:
        say: takes the line; by default it becomes a warning of the log.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._say = say or _logger.warning
        self._said: set[tuple[str, str]] = set()

    def add(self, who: str, reason: str, detail: str) -> None:
        """Counts a refusal.

        Args:
            who: whose message or connection was refused.
            reason: of a few, such as ``damaged``.
            detail: more about it.
        """
        self.counts[reason] += 1
        if (who, reason) not in self._said and len(self._said) < _MOST_LINES:
            self._said.add((who, reason))
            self._say(one_line(f"refused from {who}: {reason}: {detail}"))
