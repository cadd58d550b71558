"""The effect of signals on a run: they ask it to stop after its current round, or interrupt it."""

import signal
import sys
import threading
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


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into a KeyboardInterrupt, so that the program cleans up; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread receives signals.
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
