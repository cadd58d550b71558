"""Sends tasks to the Parsl workers of a site, and collects their answers.

A task is a function from text to text that a worker can import; models and data are never sent. Only this
module starts workers.

    with fanout.workers(run_task, site, options, run_dir) as workers:
        future = workers.submit(text)
        while not workers.ready([future], timeout=1.0):
            ...
        answer = workers.answer(future)
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dml.errors import LostInterchangeError, LostWorkersError
from dml.parallel import parsl_private
from dml.parallel.owner import Heartbeat, Owner
from dml.parallel.sites import Site
from dml.parallel.watch import watch_executors
from dml.signals import interrupt_on_sigterm

if TYPE_CHECKING:
    from parsl import Config

Task = Callable[[str], str]
"""The function that a worker runs: it takes a text and returns a text."""


class LostTaskError(RuntimeError):
    """The worker that ran a task was lost; the message says which worker. Other workers go on."""


class Workers:
    """Workers that have been started.

    Args:
        owner: the process that they end with; tasks need it to notice its end.
        config: Parsl's configuration, loaded.
        app: gives a text to the next free worker.
    """

    def __init__(self, owner: Owner, config: "Config", app: "Callable[[str], Future[str]]") -> None:
        self.owner = owner
        self._config, self._app = config, app
        self._lock = threading.Lock()  # Parsl numbers its tasks without a lock

    def submit(self, text: str) -> "Future[str]":
        """Gives a task to the next free worker; any thread may call this."""
        with self._lock:
            return self._app(text)

    def ready(self, futures: Collection["Future[str]"], timeout: float) -> "set[Future[str]]":
        """Waits up to `timeout` seconds until a future has ended, and returns all that have ended.

        Raises:
            LostInterchangeError: Parsl's interchange has ended, so no other future will end.
        """
        done, _ = wait(futures, timeout, FIRST_COMPLETED)
        if parsl_private.interchange_has_ended(self._config):
            raise LostInterchangeError("Parsl's interchange was killed")
        return done

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
def workers(task: Task, site: Site, options: Mapping[str, str], run_dir: Path) -> Iterator[Workers]:
    """Starts the workers of a site. They end with this process, however it ends.

    Meanwhile SIGTERM, which batch systems send at the end of a job, raises KeyboardInterrupt. Otherwise
    Parsl's processes would outlive this one.

    Args:
        task: the function that the workers run.
        site: the site of the workers.
        options: the options of the site.
        run_dir: the folder from :meth:`Site.run_dir`, for Parsl's own files and the heartbeat.

    Raises:
        InputError: the site does not take an option, or cannot make a configuration on this machine.
    """
    import parsl

    config = site.config(options, run_dir)
    with interrupt_on_sigterm(), Heartbeat(run_dir / "heartbeat") as heart, ExitStack() as loaded:
        watch_executors(config, heart.owner)
        kernel = loaded.enter_context(parsl.load(config))
        try:
            yield Workers(heart.owner, config, parsl.python_app(task, data_flow_kernel=kernel))
        except LostInterchangeError:
            # Closing Parsl would wait for its interchange forever.
            loaded.pop_all()
            raise
