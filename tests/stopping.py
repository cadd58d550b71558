"""Stopping a run between two rounds."""


class StopAfter:
    """Asks a run to stop once it has been asked so often."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def __call__(self) -> str | None:
        self.left -= 1
        return "enough" if self.left <= 0 else None
