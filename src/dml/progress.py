"""How far a long call has come, on stderr: a bar on a terminal, otherwise a line now and then."""

import contextlib
import sys
import time
from types import TracebackType

from dml import messages

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """The progress of work that can be counted.

    Args:
        what: what is counted, in a word or two.
        total: how much there is to do.
        done: how much of it was done before.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        self._what, self._total, self._start, self._from = what, total, time.monotonic(), done
        self._last_line = time.monotonic()
        self._messages = contextlib.ExitStack()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=False,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, completed=done, note="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        self._messages.enter_context(messages.above(self.say))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._messages.close()
        self._bar.stop()

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """Shows how much is done.

        Args:
            done: how much.
            note: a few words on what it brought.
            total: how much there is to do, if that is more or less than was thought.
        """
        if total is not None:
            self._total = total
        # A reader of our messages that has gone (`2>&1 | head`) must not end the work.
        with contextlib.suppress(OSError, ValueError):
            self._update(done, note)

    def _update(self, done: int, note: str) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, total=self._total, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES and done < self._total:
            return
        self._last_line = now
        fresh = done - self._from
        left = (now - self._start) / fresh * (self._total - done) if fresh > 0 else 0.0
        rest = f", about {left:.0f} s left" if done < self._total and fresh > 0 else ""
        print(
            f"{self._what} {done}/{self._total} after {now - self._start:.0f} s{rest}  {note}",
            file=sys.stderr,
        )

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        with contextlib.suppress(OSError, ValueError):
            if self._console.is_terminal:
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                print(line, file=sys.stderr, flush=True)
