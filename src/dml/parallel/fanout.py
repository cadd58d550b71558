"""Sends tasks to the Parsl workers of a site, and collects their answers.

A task is a function from text to text that a worker can import; models and data are never sent. Only this
module starts workers.

    with fanout.workers(run_task, site, options, run_dir, ending, Jobs(limits), limits) as workers:
        future = workers.submit(text)
        while not workers.ready([future], timeout=1.0):
            ...
        answer = workers.answer(future)
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from dml.errors import (
    FailingWorkersError,
    LostInterchangeError,
    LostWorkersError,
    NoMoreWorkersError,
    OutOfTimeError,
)
from dml.parallel import failing_workers, parsl_private
from dml.parallel.ending import Ending
from dml.parallel.jobs import Jobs
from dml.parallel.limits import Limits
from dml.parallel.owner import Heartbeat, Owner, abandoned
from dml.parallel.sites import Site
from dml.parallel.watch import FAILING, tell_local, watch_executors

if TYPE_CHECKING:
    from parsl import Config
    from parsl.dataflow.dflow import DataFlowKernel

CLOSE = 30.0
"""Seconds that Parsl has to close when all is done; its workers are idle then."""

LOOK = 1.0
"""Seconds between two looks at the jobs that hold the workers."""

ENDS_WITHIN = 3.0
"""Seconds that are waited for processes on this host once they were asked to end."""

Task = Callable[[str], str]
"""The function that a worker runs: it takes a text and returns a text."""


class LostTaskError(RuntimeError):
    """The worker that ran a task was lost; the message says which worker. Other workers go on."""


class Workers:
    """Workers that have been started.

    Args:
        owner: the process that they end with; tasks need it to notice its end.
        config: Parsl's configuration, loaded.
        jobs: those that hold the workers.
        app: gives a text to the next free worker.
    """

    def __init__(
        self, owner: Owner, config: "Config", jobs: Jobs, app: "Callable[[str], Future[str]]"
    ) -> None:
        self.owner = owner
        self._config, self._jobs, self._app = config, jobs, app
        self._looked, self._unseen = time.monotonic(), 0
        self._lock = threading.Lock()  # Parsl numbers its tasks without a lock

    def submit(self, text: str) -> "Future[str]":
        """Gives a task to the next free worker; any thread may call this."""
        with self._lock:
            return self._app(text)

    def ready(self, futures: Collection["Future[str]"], timeout: float) -> "set[Future[str]]":
        """Waits up to `timeout` seconds until a future has ended, and returns all that have ended.

        Raises:
            LostInterchangeError: Parsl's interchange has ended, so no other future will end.
            LostWorkersError: no job holds workers any more.
            FailingWorkersError: workers fail at their start.
            NoMoreWorkersError: the same, and none will come; or the folder of the results was removed.
        """
        done, _ = wait(futures, timeout, FIRST_COMPLETED)
        if parsl_private.interchange_has_ended(self._config):
            raise LostInterchangeError("Parsl's interchange was killed")
        if time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            self._look()
        return done

    def _look(self) -> None:
        folder = Path(self.owner.heartbeat).parent
        if why := failing_workers.message(folder / FAILING):
            raise FailingWorkersError(why)
        # A shared file system may lose sight of a folder for a moment.
        self._unseen = 0 if folder.exists() else self._unseen + 1
        if self._unseen > 1:
            while not folder.parent.exists():
                folder = folder.parent
            raise NoMoreWorkersError(f"{folder} was removed while its workers ran")
        self._jobs.look(self._config)

    def answer(self, future: "Future[str]") -> str:
        """The answer of a future that has ended.

        Raises:
            LostTaskError: the worker that ran the task was lost.
            LostWorkersError: no worker is left, and none will come.
            Exception: whatever the task, or Parsl, raised instead.
        """
        from parsl.executors.errors import BadStateException
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            return future.result()
        except BadStateException as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise LostWorkersError("the workers were lost: " + " ".join(lines[:3])) from error
        except (ManagerLost, WorkerLost) as error:
            raise LostTaskError(str(error).splitlines()[0]) from error


@contextmanager
def workers(
    task: Task,
    site: Site,
    options: Mapping[str, str],
    run_dir: Path,
    ending: Ending,
    jobs: Jobs,
    limits: Limits,
) -> Iterator[Workers]:
    """Starts the workers of a site. They end with this process, however it ends.

    Args:
        task: the function that the workers run.
        site: the site of the workers.
        options: the options of the site.
        run_dir: the folder from :meth:`Site.run_dir`, for Parsl's own files and the heartbeat. It is removed
            once the workers have ended.
        ending: ends this process when it is told to, and gives up the workers.
        jobs: those that hold them, over all starts of a call.
        limits: the time that they have, and their grace.

    Raises:
        InputError: the site does not take an option, or cannot make a configuration on this machine.
        NoMoreWorkersError: no job may be submitted.
    """
    import parsl

    config = site.config(options, run_dir)
    jobs.prepare(config)
    _remove_abandoned(run_dir.parent)
    try:
        with Heartbeat(run_dir / "heartbeat") as heart:
            watch_executors(config, heart.owner, limits)
            with ending.giving_up(lambda: _give_up(config, heart, run_dir)):
                kernel = _load(config)
                run = parsl.python_app(failing_workers.run, data_flow_kernel=kernel)
                try:
                    yield Workers(heart.owner, config, jobs, partial(run, task))
                finally:
                    _close(kernel, config)
    except OutOfTimeError:
        _remove(run_dir)
        raise
    except BaseException:
        # The logs stay, since they say why; the keys are of no more use.
        for keys in run_dir.rglob("certificates"):
            shutil.rmtree(keys, ignore_errors=True)
        raise
    _remove(run_dir)


def _load(config: "Config") -> "DataFlowKernel":
    """Starts Parsl.

    Raises:
        LostInterchangeError: its interchange has ended before it answered; Parsl would wait for two minutes.
    """
    import parsl

    loaded: Future[DataFlowKernel] = Future()

    def load() -> None:
        try:
            loaded.set_result(parsl.load(config))
        except Exception as error:
            loaded.set_exception(error)

    threading.Thread(target=load, name="starting Parsl", daemon=True).start()
    while not wait([loaded], timeout=0.1).done:
        if parsl_private.interchange_has_ended(config):
            raise LostInterchangeError("Parsl's interchange was killed while it started")
    return loaded.result()


def _close(kernel: "DataFlowKernel", config: "Config") -> None:
    """Closes Parsl.

    Raises:
        LostInterchangeError: it waits for its interchange, and would for ever.
    """
    closing = threading.Thread(target=kernel.cleanup, name="closing Parsl", daemon=True)
    closing.start()
    until = time.monotonic() + CLOSE
    while closing.is_alive() and time.monotonic() < until:
        closing.join(0.1)
        if parsl_private.interchange_has_ended(config):
            closing.join(1.0)
            break
    if closing.is_alive():
        raise LostInterchangeError("Parsl's interchange has ended")


def _give_up(config: "Config", heart: Heartbeat, run_dir: Path) -> None:
    """Leaves Parsl as it is: tells all its processes to end, waits for those here, and cleans up."""
    heart.stop()
    told = tell_local(heart.owner)
    canceller = threading.Thread(target=parsl_private.cancel_blocks, args=(config,), daemon=True)
    canceller.start()
    psutil.wait_procs(told, timeout=ENDS_WITHIN)
    canceller.join(0.5)
    _remove(run_dir)


def _remove_abandoned(parent: Path) -> None:
    """Removes what calls that were killed have left beside our folder: Parsl's files, with their keys."""
    for heartbeat in parent.glob("*/heartbeat"):
        if abandoned(heartbeat):
            shutil.rmtree(heartbeat.parent, ignore_errors=True)


def _remove(run_dir: Path) -> None:
    """Removes Parsl's files, keys included."""
    shutil.rmtree(run_dir, ignore_errors=True)
    with contextlib.suppress(OSError):
        run_dir.parent.rmdir()  # unless it holds those of another call
