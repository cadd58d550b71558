"""How an experiment is refused: a wrong input, or a file that cannot be read or written."""

LONGEST = 200
"""Letters of a value that a message repeats: enough to know it again."""


class InputError(ValueError):
    """A value that the user gave and that cannot be right.

    Args:
        flag: name of the flag as typed, without dashes (``rounds``), or of the file.
        value: what was given; None where the flag was left out, a bool for a switch.
        right: what would be right, as the rest of one sentence.
    """

    def __init__(self, flag: str, value: object, right: str) -> None:
        self.flag, self.value, self.right = flag, value, right
        switch = "no_" if value is False else ""
        words = value if isinstance(value, list | tuple) else [value]
        shown = "" if value is None or isinstance(value, bool) else " " + " ".join(map(str, words))
        shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + " .."
        super().__init__(f"--{switch}{flag}{shown}: {right}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.flag, self.value, self.right)


class UnwritableFileError(RuntimeError):
    """A file that cannot be written: a full disk, a quota, a folder that has gone."""


class DamagedFileError(RuntimeError):
    """A result or checkpoint file that cannot be read; it is named and left where it is."""
