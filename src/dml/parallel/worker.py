"""The task of a sweep: a worker takes the spec of one experiment, runs it, and returns its status.

Specs and answers are short JSON texts. The result is a file, whose path the scheduler already knows.
"""

import json
import socket
import traceback
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from dml.data.catalogue import absolute_dataset
from dml.errors import first_line
from dml.parallel import locks
from dml.parallel.owner import Owner, OwnerWatch
from dml.results.status import Status


class TaskStatus(StrEnum):
    """The status of a task that gave no result."""

    LOCKED = "locked"
    """Another process runs the experiment."""

    STOPPED = "stopped"
    """The experiment was asked to stop, and stopped at a checkpoint."""

    FAILED = "failed"
    """The experiment raised an error."""


@dataclass(frozen=True)
class Answer:
    """The answer of a task.

    Args:
        status: the :class:`Status` of the result file, which may be "running" if the file already has more
            rounds than were asked for; or a :class:`TaskStatus` if there is no result.
        why: the first line of the reason, unless all went well.
    """

    status: str
    why: str = ""

    def to_json(self) -> str:
        """The answer as text."""
        return json.dumps(asdict(self))


def spec(flags: dict[str, Any], owner: Owner) -> str:
    """The text of a task: all flags of the experiment, and the owner that it ends with.

    Paths are made absolute, because a worker's working directory depends on its site.
    """
    paths = ["out_dir", "data_dir"] + (["topology_file"] if Path(flags["topology_file"]).exists() else [])
    absolute = {flag: str(Path(flags[flag]).expanduser().absolute()) for flag in paths}
    absolute["dataset"] = absolute_dataset(flags["dataset"])
    return json.dumps({"flags": flags | absolute, "owner": owner.to_dict()})


def run_task(text: str) -> str:
    """Runs one experiment in a worker. It never raises, so that one failure does not stop the others."""
    try:
        return _run(json.loads(text)).to_json()
    except Exception as error:
        traceback.print_exc()
        return Answer(TaskStatus.FAILED, why=first_line(error)).to_json()


def _run(task: dict[str, Any]) -> Answer:
    watch = _watch(Owner.from_dict(task["owner"]))
    if watch.lost():
        return Answer(TaskStatus.STOPPED, why="the scheduler has ended")
    from dml import config, experiment
    from dml.data.stage import nearest_data_dir
    from dml.results import reader
    from dml.results.lock import LockedError
    from dml.signals import stop_on_signals

    flags = task["flags"]
    flags["data_dir"] = str(nearest_data_dir(flags["dataset"], Path(flags["data_dir"])))
    with stop_on_signals() as signalled:

        def stop() -> str | None:
            return signalled() or ("the scheduler has ended" if watch.lost() else None)

        try:
            path = experiment.run(config.from_flat(flags), stop=stop)
        except LockedError as locked:
            return Answer(TaskStatus.LOCKED, why=str(locked))
        except experiment.Stopped as stopped:
            return Answer(TaskStatus.STOPPED, why=str(stopped))
    return Answer(Status(reader.attributes(path)["status"]))


@cache
def _watch(owner: Owner) -> OwnerWatch:
    """One watch per owner and process, so that a task that starts after the owner's loss ends at once."""
    if owner.host != socket.gethostname():
        locks.check_here(Path(owner.heartbeat).parent)
    return OwnerWatch(owner)
