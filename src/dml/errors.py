"""How work is refused or ends: a wrong input, a file that cannot be read or written, lost workers."""

EXIT_FAILED, EXIT_WRONG_CALL, EXIT_AGAIN, EXIT_AT_ONCE = 1, 2, 75, 130
"""The exit codes besides 0, which says that all is done: something failed or cannot go on; a wrong call; the
call was interrupted, or ran out of time or workers, and the same command goes on; a second Ctrl-C."""

LONGEST = 200
"""The number of characters of a value that a message repeats: enough to recognise it."""


class InputError(ValueError):
    """A value that the user gave and that cannot be right.

    The message names the field as Python knows it (``rounds 0: must be at least 1``); the command line puts
    the dashes before it.

    Args:
        field: the name of the field.
        value: what was given; None if nothing was, a bool for a switch.
        right: what would be right, as the rest of one sentence.
    """

    def __init__(self, field: str, value: object, right: str) -> None:
        self.field, self.value, self.right = field, value, right
        switch = "no_" if value is False else ""
        words = value if isinstance(value, list | tuple) else [value]
        shown = "" if value is None or isinstance(value, bool) else " " + " ".join(map(str, words))
        shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + " ..."
        super().__init__(f"{switch}{field}{shown}: {right}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.right)


class ArgumentError(InputError):
    """The same for a word of the command line that has no flag, such as the name of a file."""


class UnwritableFileError(RuntimeError):
    """A file that cannot be written: a full disk, a quota, a folder that no longer exists."""


class DamagedFileError(RuntimeError):
    """A result or checkpoint file that cannot be read; it is named and left where it is."""


class LostWorkersError(RuntimeError):
    """No worker of a sweep is left, and none will come."""


class LostInterchangeError(LostWorkersError):
    """The process through which Parsl hands out tasks has ended.

    Parsl does not notice, and waits for it for ever, also when it closes: this process must end without
    closing it (``os._exit``). The workers end by themselves when they see that it has gone.
    """


def first_line(error: Exception) -> str:
    """The first line of an error, after its type unless it is one of the library's own."""
    line = (str(error).splitlines() or [""])[0]
    return line if type(error).__module__.startswith("dml.") else f"{type(error).__name__}: {line}"
