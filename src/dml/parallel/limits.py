"""What a call may use: time, jobs, and the seconds that workers have to save their work at its end."""

from dataclasses import dataclass

LEAST_MARGIN = 60.0
"""Seconds before the end of a job in which nothing new starts."""


@dataclass(frozen=True)
class Limits:
    """The limits of a call.

    Args:
        jobs: how many jobs may be submitted for the workers in all.
        grace: seconds in which workers may end their round and save it when they are told to end; Slurm kills
            30 s after it has told them.
        ends_at: when the time of this call is over, by ``time.time()``.
        margin: seconds before the end of a job from which workers save their work; None for twice the longest
            round so far, and at least ``LEAST_MARGIN``.
    """

    jobs: int = 10
    grace: float = 25.0
    ends_at: float = float("inf")
    margin: float | None = None

    @property
    def drains_at(self) -> float:
        """When nothing new starts any more, by ``time.time()``."""
        return self.ends_at - (LEAST_MARGIN if self.margin is None else self.margin)
