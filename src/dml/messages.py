"""Messages to the user. While it works, the library sends them only through the logger ``dml``.

A module calls ``logging.getLogger(__name__).info("...")``. A script calls :func:`to_stderr` once. In a
program that does not, Python's own rule holds: warnings appear on stderr, and other messages do not.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

_above_bar: list[Callable[[str], None]] = []
"""The function that prints a line above the current progress bar, if there is a bar."""


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            line = f"{record.levelname.lower()}: {line}"
        # If nobody reads our messages any more (`2>&1 | head`), the work must go on.
        with contextlib.suppress(OSError, ValueError):
            if _above_bar:
                _above_bar[-1](line)
            else:
                print(line, file=sys.stderr, flush=True)


def to_stderr() -> None:
    """Shows all messages of the library on stderr. Further calls have no effect."""
    logger = logging.getLogger("dml")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        logger.addHandler(_Stderr())


@contextlib.contextmanager
def above(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, ``say`` prints the messages, as a progress bar does above itself."""
    _above_bar.append(say)
    try:
        yield
    finally:
        _above_bar.remove(say)


def count(number: int, noun: str) -> str:
    """A number of things as text: ``1 topology``, ``3 topologies``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"


def amount(number: float) -> str:
    """A number of bytes as text, in the largest unit of which it is at least one: ``1.5 GiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} bytes"
