"""Shows the progress of a long call on stderr: a bar on a terminal, otherwise a line now and then."""

import contextlib
import sys
import time
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dml import messages

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """The progress of work that can be counted.

    Args:
        what: the unit that is counted, in a word or two.
        total: the number of units.
        done: the number of units that were done before.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._start, self._from = what, total, time.monotonic(), done
        self._last_line = time.monotonic()
        self._note, self._running = "", ""
        self._entered = contextlib.ExitStack()
        self._bar = _bar(what, total, done) if sys.stderr is not None and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar:
            self._entered.enter_context(self._bar)
        self._entered.enter_context(messages.above(self._say))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()

    def note(self, running: str) -> None:
        """Says what runs behind a bar, which is drawn again and again; any thread may call this."""
        self._running = running
        if self._bar:
            self._bar.update(self._bar.task_ids[0], note=self._notes())

    def _notes(self) -> str:
        return "  ".join(part for part in (self._note, self._running) if part)

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """Shows how much is done.

        Args:
            done: the number of units that are done.
            note: a few words about the results.
            total: the new number of units, if it has changed.
        """
        if total is not None:
            self._total = total
        # If nobody reads our messages any more (`2>&1 | head`), the work must go on.
        with contextlib.suppress(OSError, ValueError):
            self._note = note
            self._update(done)

    def _update(self, done: int) -> None:
        if self._bar:
            task = self._bar.task_ids[0]
            self._bar.update(task, total=self._total, completed=done, note=self._notes())
            return
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES and done < self._total:
            return
        self._last_line = now
        fresh = done - self._from
        left = (now - self._start) / fresh * (self._total - done) if fresh > 0 else 0.0
        rest = f", about {left:.0f} s left" if done < self._total and fresh > 0 else ""
        print(
            f"{self._what} {done}/{self._total} after {now - self._start:.0f} s{rest}  {self._note}",
            file=sys.stderr,
        )

    def _say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _bar(what: str, total: int, done: int) -> "Bar":
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    whole = partial(Column, no_wrap=True)
    bar = progress.Progress(
        progress.TextColumn("{task.description}", table_column=whole()),
        progress.BarColumn(bar_width=12, table_column=whole()),
        progress.MofNCompleteColumn(table_column=whole()),
        progress.TimeElapsedColumn(table_column=whole()),
        progress.TextColumn("left", table_column=whole()),
        progress.TimeRemainingColumn(table_column=whole()),
        # On a narrow terminal the note gives way.
        progress.TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True)),
        console=Console(stderr=True),
        expand=True,
    )
    bar.add_task(what, total=total, completed=done, note="")
    return bar
