"""The exit of every script: its code, and one line for what went wrong."""

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from dml import messages
from dml.errors import (
    EXIT_AGAIN,
    EXIT_AT_ONCE,
    EXIT_FAILED,
    EXIT_WRONG_CALL,
    ArgumentError,
    DamagedFileError,
    FailingWorkersError,
    InputError,
    LostInterchangeError,
    LostWorkersError,
    OtherCodeError,
    OutOfTimeError,
    UnwritableFileError,
    one_line,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""The system's errors for output that does not fit."""


def guard(main: Callable[[], int], go_on: str = "") -> NoReturn:
    """Runs a script's main and exits; expected errors end it with one message, without a traceback.

    The exit code is that of ``main``; 2 after a user's mistake; 1 after a damaged file, one of other code, a
    file or an output that cannot be written, a full memory, workers that cannot work, and any other error of
    the system; 75 after lost workers; 130 after Ctrl-C.

    Args:
        main: returns the exit code.
        go_on: how the user can continue after an interruption, as the end of a message.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # The caller has closed it (`2>&-`).
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the end)
    messages.to_stderr()
    # What is done is done: a signal while Python ends must not change the exit code.
    atexit.register(_ignore_signals)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The name of a file may hold bytes that are no text; they are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")
    code: int | str | None
    try:
        code = _code(main)
        sys.stdout.flush()
    except InputError as error:
        dashes = "" if isinstance(error, ArgumentError) else "--"
        code = _tell(f"error: {dashes}{error}", EXIT_WRONG_CALL)
    except (DamagedFileError, OtherCodeError, UnwritableFileError, FailingWorkersError) as error:
        code = _tell(f"error: {one_line(str(error))}", EXIT_FAILED)
    except OutOfTimeError as error:
        code = _tell(str(error), EXIT_AGAIN)
    except LostWorkersError as error:
        code = _tell(f"error: {error}" + (f"\n{go_on}" if go_on else ""), EXIT_AGAIN)
        if isinstance(error, LostInterchangeError):
            os._exit(code)
    except KeyboardInterrupt:
        code = _tell("interrupted" + (f": {go_on}" if go_on else ""), EXIT_AT_ONCE)
    except BrokenPipeError:
        # Nobody reads our output any more (`| head`), so end quietly.
        _drop_output()
        code = 0
    except OSError as error:
        code = _tell(f"error: {one_line(_why(error))}", EXIT_FAILED)
    except MemoryError as error:
        code = _tell(f"error: the memory is full ({one_line(str(error)) or 'MemoryError'})", EXIT_FAILED)
    sys.exit(code)


def _code(main: Callable[[], int]) -> int | str | None:
    """The exit code of ``main``, also if it ends by itself, as after ``--help``."""
    try:
        return main()
    except SystemExit as end:
        return end.code


def _why(error: OSError) -> str:
    """An error of the system, in words."""
    if error.filename is None and error.errno in _FULL:
        _drop_output()
        return f"the output cannot be written ({error.strerror})"
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working directory no longer exists; change to another one"
    return f"{error.filename or type(error).__name__}: {error.strerror or error}"


def _drop_output() -> None:
    """Discards what is still to be printed, which Python would try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(message: str, code: int) -> int:
    # Whether or not somebody can read it, the exit code tells.
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)
    return code


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # Another thread than the main one cannot.
            signal.signal(number, signal.SIG_IGN)
