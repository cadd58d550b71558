"""The status of an experiment, as its result file tells it."""

from enum import StrEnum


class Status(StrEnum):
    """How far an experiment has come: the attribute ``status`` of its result file.

    A member equals its text, so it can be compared with what a file holds. (h5py writes only the plain text,
    ``status.value``.)
    """

    RUNNING = "running"
    """It has not ended: it is being computed now, or was interrupted."""

    COMPLETE = "complete"
    """All rounds that were asked for have been done."""

    DIVERGED = "diverged"
    """The training loss of a node was no longer finite. What was measured until then is kept."""
