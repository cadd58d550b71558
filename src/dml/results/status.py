"""The status of an experiment, as its result file tells it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


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


def finished(attributes: Mapping[str, Any], rounds: int) -> bool:
    """Whether a result file holds all that so many rounds give.

    Args:
        attributes: the attributes of the file.
        rounds: how many were asked for; a file that has ended as diverged gets no more.
    """
    done, status = int(attributes["rounds_done"]), attributes["status"]
    return status == Status.DIVERGED or done > rounds or (done == rounds and status == Status.COMPLETE)
