"""What signals do to a run: they ask it to stop at its next round, after its checkpoint."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Remembers that a signal asked to stop."""

    reason: str | None = None

    def __call__(self) -> str | None:
        """The reason to stop, or None."""
        return self.reason


@contextmanager
def stop_on_signals(say: str = "") -> Iterator[StopRequest]:
    """Turns SIGINT (Ctrl-C) and SIGTERM into a request to stop; a second Ctrl-C interrupts at once.

    Args:
        say: a text to print on stderr at the first Ctrl-C, so that the user knows why the program goes on.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.reason is not None:
            raise KeyboardInterrupt
        request.reason = f"asked to by {signal.Signals(number).name}"
        if say and number == signal.SIGINT:
            print(say, file=sys.stderr)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
