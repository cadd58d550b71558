"""What the library tells a person while it works: through the logger ``dml``, and nowhere else.

A module says ``logging.getLogger(__name__).info("...")``. A script calls :func:`to_stderr` once; without it,
in somebody's own program, Python's own rule holds: warnings appear on stderr, the rest does not.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

_above_bar: list[Callable[[str], None]] = []
"""What prints a line above the progress bar that is on the terminal now, if there is one."""


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            line = f"{record.levelname.lower()}: {line}"
        # A reader of our messages that has gone (`2>&1 | head`) must not end the work.
        with contextlib.suppress(OSError, ValueError):
            if _above_bar:
                _above_bar[-1](line)
            else:
                print(line, file=sys.stderr, flush=True)


def to_stderr() -> None:
    """Shows everything that the library tells, on stderr; called again it changes nothing."""
    logger = logging.getLogger("dml")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        logger.addHandler(_Stderr())


@contextlib.contextmanager
def above(say: Callable[[str], None]) -> Iterator[None]:
    """While this is entered, ``say`` prints the messages: a progress bar, above itself."""
    _above_bar.append(say)
    try:
        yield
    finally:
        _above_bar.remove(say)


def count(number: int, noun: str) -> str:
    """A number of things, as text: ``1 topology``, ``3 topologies``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
