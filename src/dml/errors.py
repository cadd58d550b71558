"""The errors of the library: wrong input, files that cannot be read or written, lost workers."""

import re

EXIT_FAILED, EXIT_WRONG_CALL, EXIT_AGAIN, EXIT_AT_ONCE = 1, 2, 75, 130
"""The exit codes besides 0, which says that all is done: something failed or cannot go on; a wrong call; the
call was interrupted, or ran out of time or workers, and the same command goes on; a second Ctrl-C."""

LONGEST = 200
"""The number of characters of a value that a message shows, which is enough to recognise it."""

_LONG_WORD = re.compile(rf"(\S{{{2 * LONGEST}}})\S+")


def one_line(text: str) -> str:
    """A text as one line: line breaks and control characters are escaped, and the end of huge words is cut.

    A value or the name of a file may hold any of them.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _LONG_WORD.sub(r"\1 ...", shown)


class InputError(ValueError):
    """A wrong value from the user.

    The message is one line. It begins with the name of the field in Python (``rounds 0: must be at least
    1``); the command line adds the dashes.

    Args:
        field: the name of the field.
        value: the value that was given; None if there was none, a bool for a switch.
        right: what is wrong or would be right, as the rest of the message.
    """

    def __init__(self, field: str, value: object, right: str) -> None:
        self.field, self.value, self.right = field, value, right
        switch = "no_" if value is False else ""
        words = value if isinstance(value, list | tuple) else [value]
        shown = "" if value is None or isinstance(value, bool) else " " + " ".join(map(str, words))
        shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + " ..."
        super().__init__(one_line(f"{switch}{field}{shown}: {right}"))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.right)


class ArgumentError(InputError):
    """A wrong word of the command line that has no flag, such as the name of a file."""


class UnwritableFileError(RuntimeError):
    """A file cannot be written, because of a full disk, a quota, or a folder that no longer exists."""


class DamagedFileError(RuntimeError):
    """A result or checkpoint file cannot be read. The message names the file, which is not changed."""


class OtherCodeError(RuntimeError):
    """An unfinished result was begun by other code, and going on would mix the numbers of both."""


class LostWorkersError(RuntimeError):
    """All workers of a sweep are lost, and no others will start."""


class NoMoreWorkersError(LostWorkersError):
    """All workers of a sweep are lost and may not be started again, as the time or the jobs are used up."""


class LostRankError(LostWorkersError):
    """A process that shares the experiment has ended before it was done."""


class OutOfTimeError(NoMoreWorkersError):
    """The time of a sweep is over before the sweep is."""


class FailingWorkersError(RuntimeError):
    """Workers cannot work: they end again and again before any of them has done something."""


class LostInterchangeError(LostWorkersError):
    """The process through which Parsl hands out tasks has ended.

    Parsl does not notice, and would wait for it forever, even on closing. So this process must end without
    closing Parsl (``os._exit``). The workers notice its end, and end by themselves.
    """


def first_line(error: Exception) -> str:
    """The first line of an error's message, after the error's type unless it is one of this library."""
    line = (str(error).splitlines() or [""])[0]
    return line if type(error).__module__.startswith("dml.") else f"{type(error).__name__}: {line}"
