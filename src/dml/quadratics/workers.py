"""Candidates as Parsl tasks: the cells of a table search side by side, each for its own learning rate.

A task is the text of a cell, a learning rate and a number of steps; its answer is a candidate. What is tried
depends on the answers alone, so the table is the same for any number of workers.
"""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dml.parallel.scheduler import LostInterchangeError, LostWorkersError, check_alive
from dml.parallel.sites import Site
from dml.parallel.watch import Heartbeat, watched
from dml.quadratics.setting import Setting, candidate
from dml.quadratics.table import Cell
from dml.quadratics.tuning import Candidate, Try

if TYPE_CHECKING:
    from parsl import Config


def run_task(text: str) -> str:
    """Runs one candidate in a worker; never raises."""
    import torch

    # Matrices this small gain nothing from a second thread.
    torch.set_num_threads(1)
    try:
        return json.dumps(asdict(candidate(*json.loads(text))))
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})


class Workers:
    """The workers of a site, while they are up.

    Args:
        config: of Parsl, loaded.
        task: gives a text to a worker.
    """

    def __init__(self, config: "Config", task: Callable[[str], "Future[str]"]) -> None:
        self._config, self._task = config, task
        # Parsl numbers its tasks without a lock of its own.
        self._lock, self._stopped = threading.Lock(), threading.Event()

    def cells(self, settings: Sequence[Setting], wrap: Callable[[Try, Setting], Try]) -> Iterator[Cell]:
        """The cells in their order, all searched side by side.

        Args:
            settings: of the cells.
            wrap: what goes between a cell's tuner and the workers, as a cache does.

        Raises:
            LostWorkersError: no worker is left.
        """
        with ThreadPoolExecutor(max(1, len(settings)), "cell") as threads:
            try:
                yield from threads.map(lambda one: one.cell(wrap(self._attempt(one), one)), settings)
            finally:
                self.stop()

    def stop(self) -> None:
        """No thread waits for a worker any longer."""
        self._stopped.set()

    def _attempt(self, setting: Setting) -> Try:
        text = setting.to_json()

        def attempt(lrs: Sequence[float], limit: int) -> list[Candidate]:
            with self._lock:
                futures = [self._task(json.dumps([text, lr, limit])) for lr in lrs]
            return [self._answer(future) for future in futures]

        return attempt

    def _answer(self, future: "Future[str]") -> Candidate:
        while not self._stopped.is_set():
            try:
                answer = json.loads(future.result(timeout=0.5))
            except TimeoutError:
                check_alive(self._config)
                continue
            except Exception as error:
                raise LostWorkersError(f"the workers were lost: {' '.join(str(error).split())}") from error
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return Candidate(**answer)
        raise LostWorkersError("stopped")


@contextlib.contextmanager
def started(site: Site, options: dict[str, str]) -> Iterator[Workers]:
    """The workers of a site; they end with this process, however it ends.

    Raises:
        InputError: the site takes no such option, or makes no configuration here.
    """
    import parsl

    name = f"quadratics-{socket.gethostname()}-{os.getpid()}"
    # Workers on other hosts read the folder too, so there it is where the user is.
    wanted = Path(tempfile.gettempdir() if site.one_host else Path.cwd() / ".parsl") / name
    folder = site.run_dir(wanted)
    try:
        config = site.config(options, folder)
        with Heartbeat(folder / "heartbeat") as heart, contextlib.ExitStack() as loaded:
            watched(config, heart.scheduler)
            kernel = loaded.enter_context(parsl.load(config))
            workers = Workers(config, parsl.python_app(run_task, data_flow_kernel=kernel))
            try:
                yield workers
            except LostInterchangeError:
                # Closing Parsl would wait for its interchange for ever.
                loaded.pop_all()
                raise
            finally:
                workers.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
