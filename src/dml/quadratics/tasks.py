"""Runs candidates as tasks of workers, so that the searches of all cells of a table run at the same time.

A task is the text of a cell, a learning rate and a number of steps; its answer is a candidate. The next
learning rates depend only on the answers, so the table is the same for any number of workers.
"""

import json
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from dml.errors import LostWorkersError, first_line
from dml.parallel.fanout import Workers
from dml.quadratics.setting import Setting, candidate
from dml.quadratics.tuning import Candidate, Try

if TYPE_CHECKING:
    from dml.quadratics.table import Cell


def run_task(text: str) -> str:
    """Runs one candidate in a worker. It never raises: an error becomes its answer."""
    import torch

    # Matrices this small gain nothing from a second thread.
    torch.set_num_threads(1)
    try:
        return json.dumps(asdict(candidate(*json.loads(text))))
    except Exception as error:
        return json.dumps({"error": first_line(error)})


def cells(
    workers: Workers, settings: Sequence[Setting], wrap: Callable[[Try, Setting], Try]
) -> "Generator[Cell, None, None]":
    """The cells in order; they are all searched at the same time.

    Args:
        workers: the workers that run the candidates.
        settings: the settings of the cells.
        wrap: adds a layer, such as a cache, between a cell's search and the workers.

    Raises:
        LostWorkersError: no worker is left.
    """
    stopped = threading.Event()

    def attempt(setting: Setting) -> Try:
        text = setting.to_json()

        def run(lrs: Sequence[float], limit: int) -> list[Candidate]:
            futures = [workers.submit(json.dumps([text, lr, limit])) for lr in lrs]
            return [_candidate(workers, future, stopped) for future in futures]

        return run

    with ThreadPoolExecutor(max(1, len(settings)), "cell") as threads:
        try:
            yield from threads.map(lambda one: one.cell(wrap(attempt(one), one)), settings)
        finally:
            stopped.set()  # Threads that wait for a worker give up.


def _candidate(workers: Workers, future: "Future[str]", stopped: threading.Event) -> Candidate:
    while not workers.ready([future], timeout=0.5):
        if stopped.is_set():
            raise LostWorkersError("stopped")
    try:
        answer = json.loads(workers.answer(future))
    except LostWorkersError:
        raise
    except Exception as error:
        raise LostWorkersError(f"the workers were lost: {' '.join(str(error).split())}") from error
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return Candidate(**answer)
