"""The task: a worker takes the spec of one experiment, runs it, and returns where its result is.

Specs and answers are short JSON texts. Models and data never travel.
"""

import json
import time
import traceback
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dml.data.catalogue import absolute_dataset
from dml.parallel.watch import Scheduler, SchedulerWatch

COMPLETE, DIVERGED, RUNNING = "complete", "diverged", "running"
LOCKED, STOPPED, FAILED = "locked", "stopped", "failed"


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Args:
        status: of the result file: complete, diverged, or running (it holds more rounds than were asked
            for); else locked (another process runs it), stopped or failed.
        path: of the result file, where there is one.
        why: the first line of the reason, where it did not end well.
        seconds: how long it took.
        ood: mean OOD accuracy after the last aggregation.
    """

    status: str
    path: str = ""
    why: str = ""
    seconds: float = 0.0
    ood: float | None = None

    def to_json(self) -> str:
        """As the text that travels."""
        return json.dumps(asdict(self))


def spec(flags: dict[str, Any], scheduler: Scheduler) -> str:
    """The text of a task: the experiment's complete flags, and the scheduler it ends with.

    Paths are made absolute: a worker's working directory is its site's matter.
    """
    paths = ["out_dir", "data_dir"] + (["topology_file"] if Path(flags["topology_file"]).exists() else [])
    absolute = {flag: str(Path(flags[flag]).expanduser().absolute()) for flag in paths}
    absolute["dataset"] = absolute_dataset(flags["dataset"])
    return json.dumps({"flags": flags | absolute, "scheduler": scheduler.to_dict()})


def run_task(text: str) -> str:
    """Runs one experiment in a worker; never raises, so that one failure stops nothing else."""
    started = time.monotonic()
    try:
        answer = _run(json.loads(text))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        traceback.print_exc()
        known = type(error).__module__.startswith("dml.")
        answer = Answer(FAILED, why=first if known else f"{type(error).__name__}: {first}")
    return Answer(**{**asdict(answer), "seconds": time.monotonic() - started}).to_json()


def _run(task: dict[str, Any]) -> Answer:
    watch = _watch(Scheduler.from_dict(task["scheduler"]))
    if watch.lost():
        return Answer(STOPPED, why="the scheduler has gone")
    from dml import config, experiment
    from dml.results import reader
    from dml.results.lock import LockedError
    from dml.signals import stop_on_signals

    with stop_on_signals() as signalled:

        def stop() -> str | None:
            return signalled() or ("the scheduler has gone" if watch.lost() else None)

        try:
            path = experiment.run(config.from_flat(task["flags"]), stop=stop)
        except LockedError as locked:
            return Answer(LOCKED, why=str(locked))
        except experiment.Stopped as stopped:
            return Answer(STOPPED, why=str(stopped))
    attributes = reader.attributes(path)
    return Answer(attributes["status"], str(path), ood=attributes.get("final_ood"))


@cache
def _watch(scheduler: Scheduler) -> SchedulerWatch:
    """One watch a scheduler and process: a task that starts after its loss knows of it at once."""
    return SchedulerWatch(scheduler)
