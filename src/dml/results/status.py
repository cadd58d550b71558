"""The status of an experiment in its result file."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The progress of an experiment: the attribute ``status`` of its result file.

    A member equals its text, so it can be compared with what a file holds. (h5py writes only the plain text,
    ``status.value``.)
    """

    RUNNING = "running"
    """It has not ended: it is being computed now, or was interrupted."""

    COMPLETE = "complete"
    """All rounds that were asked for have been done."""

    DIVERGED = "diverged"
    """The training loss of a node was no longer finite. What was measured until then is kept."""

    STALLED = "stalled"
    """An asynchronous run could do no further update, or had its last event. What was measured is kept."""


CUT_SHORT = (Status.DIVERGED, Status.STALLED)
"""The statuses of experiments that ended before their last round, and do so again however often they run."""


def finished(attributes: Mapping[str, Any], rounds: int) -> bool:
    """Whether a result file holds everything that was asked for.

    Args:
        attributes: the attributes of the file.
        rounds: the number of rounds asked for. A diverged or stalled experiment has ended whatever this
            number is.
    """
    done, status = int(attributes["rounds_done"]), attributes["status"]
    return status in CUT_SHORT or done > rounds or (done == rounds and status == Status.COMPLETE)
