"""The end of a call that is told to end: within seconds, whatever its main thread waits for.

Batch systems send SIGTERM to all processes of a job at once. Parsl would then ask its interchange, which the
same signal has ended, and wait for ever. So a thread of its own, which the signal itself wakes, gives up what
must be given up, says how to go on, and ends the process. The main thread is held meanwhile.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from dml.errors import EXIT_AGAIN, EXIT_AT_ONCE

LIMIT = 4.0
"""Seconds for all steps together; the message comes then, whatever has not been given up."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DONE = 0
"""What wakes the thread when nothing has to end any more; no signal has this number."""


class Ending:
    """While it is entered, SIGTERM, SIGHUP and Ctrl-C end this process with code 75; Ctrl-C again with 130.

    Outside the main thread, which alone gets signals, it does nothing.

    Attributes:
        say: makes the last line on stderr; it must not wait for the main thread.
    """

    def __init__(self, say: Callable[[], str] = lambda: "interrupted") -> None:
        self.say = say
        self._steps: list[Callable[[], None]] = []
        self._active = threading.current_thread() is threading.main_thread()

    @contextmanager
    def giving_up(self, step: Callable[[], None]) -> Iterator[None]:
        """While this is entered, the step is taken when the process is told to end, before earlier ones.

        Args:
            step: runs in another thread, while the main thread may hold any lock.
        """
        self._steps.append(step)
        try:
            yield
        finally:
            self._steps.remove(step)

    def __enter__(self) -> Self:
        if self._active:
            self._awake, self._wake = os.pipe()
            os.set_blocking(self._wake, False)
            # A signal that is ignored (nohup) stays so.
            signals = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, _hold) for number in signals}
            self._wake_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._wait, name="ending", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.set_wakeup_fd(self._wake_before)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            os.write(self._wake, bytes([_DONE]))
            self._thread.join()
            os.close(self._awake)
            os.close(self._wake)

    def _wait(self) -> None:
        """Waits for the first signal, and then only for a second Ctrl-C."""
        first = self._next()
        if first == _DONE:
            return
        threading.Thread(target=self._end, daemon=True).start()
        while True:
            if self._next() == signal.SIGINT and first == signal.SIGINT:
                os._exit(EXIT_AT_ONCE)

    def _next(self) -> int:
        while True:
            number = os.read(self._awake, 1)[0]
            if number == _DONE or number in self._before:
                return number

    def _end(self) -> None:
        steps = threading.Thread(target=self._give_up, daemon=True)
        steps.start()
        steps.join(LIMIT)
        # A bar may have hidden the cursor of a terminal, and the main thread may hold the lock of sys.stderr.
        clear = "\r\x1b[K\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
        with contextlib.suppress(Exception):
            os.write(2, f"{clear}{self.say()}\n".encode())
        os._exit(EXIT_AGAIN)

    def _give_up(self) -> None:
        for step in reversed(self._steps):
            # Whatever one step fails at, the others are taken.
            with contextlib.suppress(Exception):
                step()


def _hold(number: int, frame: FrameType | None) -> None:
    """Holds the main thread, so that it starts and says nothing more while the process ends."""
    threading.Event().wait()
