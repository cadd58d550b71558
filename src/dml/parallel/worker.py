"""The task of a sweep: a worker takes the spec of one experiment, runs it, and returns its status.

Specs and answers are short JSON texts. The result is a file, whose path the scheduler already knows.
"""

import json
import os
import socket
import time
import traceback
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dml.data.catalogue import absolute_dataset
from dml.errors import InputError, first_line
from dml.parallel import locks
from dml.parallel.owner import Owner, OwnerWatch
from dml.parallel.running import Note, this_worker
from dml.parallel.time_left import TimeLeft
from dml.plan import check_shards, make_plan
from dml.ranks.launch import SHARDS
from dml.results.status import Status

if TYPE_CHECKING:
    from dml.config import ExperimentConfig


class TaskStatus(StrEnum):
    """The status of a task that gave no result."""

    LOCKED = "locked"
    """Another process runs the experiment."""

    STOPPED = "stopped"
    """The experiment was asked to stop, and stopped at a checkpoint."""

    POSTPONED = "postponed"
    """The time of the worker's job is over before that of the experiment; it has stopped at a checkpoint."""

    FAILED = "failed"
    """The experiment raised an error."""


@dataclass(frozen=True)
class Answer:
    """The answer of a task.

    Args:
        status: the :class:`Status` of the result file, which may be "running" if the file already has more
            rounds than were asked for; or a :class:`TaskStatus` if there is no result.
        why: the first line of the reason, unless all went well.
        worker: the host and the process id of the worker.
        began: when the worker began with it, by ``time.time()``; 0 if it is not known.
    """

    status: str
    why: str = ""
    worker: str = ""
    began: float = 0.0

    def to_json(self) -> str:
        """The answer as text."""
        return json.dumps(asdict(self))


def spec(flags: dict[str, Any], owner: Owner, name: str = "", commit: str | None = None) -> str:
    """The text of a task: all flags of the experiment, the owner, the result file's name, the code's commit.

    Paths are made absolute, because a worker's working directory depends on its site.
    """
    paths = ["out_dir", "data_dir"] + (["topology_file"] if Path(flags["topology_file"]).exists() else [])
    absolute = {flag: str(Path(flags[flag]).expanduser().absolute()) for flag in paths}
    absolute["dataset"] = absolute_dataset(flags["dataset"])
    return json.dumps({"flags": flags | absolute, "owner": owner.to_dict(), "name": name, "commit": commit})


def run_task(text: str) -> str:
    """Runs one experiment in a worker. It never raises, so that one failure does not stop the others."""
    began = time.time()
    try:
        return replace(_run(json.loads(text), began), worker=this_worker(), began=began).to_json()
    except Exception as error:
        traceback.print_exc()
        return Answer(TaskStatus.FAILED, first_line(error), this_worker(), began).to_json()


def _run(task: dict[str, Any], began: float) -> Answer:
    owner = Owner.from_dict(task["owner"])
    watch = _watch(owner)
    if watch.lost():
        return Answer(TaskStatus.STOPPED, why="the scheduler has ended")
    left = _time_left()
    if left.over():
        return _postponed(left)
    from dml import config, experiment
    from dml.data.stage import nearest_data_dir
    from dml.ranks import launch
    from dml.results import reader
    from dml.results.lock import LockedError
    from dml.signals import stop_on_signals

    flags, accelerator = task["flags"], task["flags"].get("accelerator", "auto")
    flags["data_dir"] = str(nearest_data_dir(flags["dataset"], Path(flags["data_dir"])))
    left.start()
    note = Note(Path(owner.heartbeat).parent, task["name"], began, flags["rounds"])
    with stop_on_signals() as signalled, note:

        def stop() -> str | None:
            left.round_done()
            over = "its time is over" if left.over() else None
            return signalled() or ("the scheduler has ended" if watch.lost() else over)

        chosen = config.from_flat(flags)
        try:
            path = experiment.run(
                chosen,
                stop=stop,
                progress=lambda record: note.round_done(record.rounds),
                commit=task["commit"],
                join=launch.shared(_processes(chosen), chosen.flat(), accelerator),
            )
        except LockedError as locked:
            return Answer(TaskStatus.LOCKED, why=str(locked))
        except experiment.Stopped as stopped:
            if signalled() or watch.lost():
                return Answer(TaskStatus.STOPPED, why=str(stopped))
            return _postponed(left)
    return Answer(Status(reader.attributes(path)["status"]))


def _processes(chosen: "ExperimentConfig") -> int:
    """How many processes share an experiment: as many as it says, or as the worker has accelerators.

    An experiment that cannot be shared takes the first of them.
    """
    told = int(os.environ.get(SHARDS, "1"))
    if chosen.run.shards is not None or told == 1:
        return chosen.run.shards or 1
    plan = make_plan(chosen)
    try:
        check_shards(plan.config, plan.topology.n, told)
    except InputError:
        return 1
    return told


def _postponed(left: TimeLeft) -> Answer:
    left.wait_until_drained()
    return Answer(TaskStatus.POSTPONED, why="its time is over")


@cache
def _time_left() -> TimeLeft:
    """One per process, as it remembers the longest round."""
    return TimeLeft.as_told()


@cache
def _watch(owner: Owner) -> OwnerWatch:
    """One watch per owner and process, so that a task that starts after the owner's loss ends at once."""
    if owner.host != socket.gethostname():
        locks.check_here(Path(owner.heartbeat).parent)
    return OwnerWatch(owner)
