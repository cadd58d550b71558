"""One of two runs that are compared batch after batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.assembly import assemble
from dml.exchange.traffic import Traffic
from dml.execution.batches import Batches
from dml.execution.execution import drive
from dml.plan import Plan
from dml.training.request import Trained
from dml.traversal.engine import UnionEngine
from dml.traversal.messages import Phases
from dml.traversal.request import BatchesRequest
from dml.traversal.visits import Apart, Visits
from dml.traversal_scripts.counted import CountedNode, counted


@dataclass(frozen=True)
class Step:
    """What one optimiser step was.

    Args:
        loss: the mean loss over the batch, before the step.
        gradient: of this loss, [parameters].
        parameters: after the step, [parameters].
        rows: samples of each node in the batch, [n].
        traffic: the bytes of the visits over the graph, as an experiment counts them.
    """

    loss: float
    gradient: Tensor
    parameters: Tensor
    rows: NDArray[np.int64]
    traffic: Traffic


class Side:
    """An experiment with one model, without a file.

    Args:
        plan: the experiment, whose rounds are single batches.
        dtype: of the model.

    Raises:
        InputError: data, model or accelerator do not go together.

    Attributes:
        execution: moves the model.
        nodes: those whose messages are counted, in their order; empty if nothing is sent.
        samples, batches: how many an epoch has.
    """

    def __init__(self, plan: Plan, dtype: torch.dtype) -> None:
        parts = assemble(plan, None, dtype)
        execution, engine = parts.execution, parts.engine
        assert isinstance(execution, Batches)
        assert isinstance(engine, UnionEngine)
        self.execution, self._engine, self._evaluate = execution, engine, parts.evaluate
        self._population, self._number = parts.population, 0
        self.nodes: list[CountedNode] = []
        if isinstance(engine.visits, Apart):
            engine.visits.nodes = self.nodes = [*map(counted, engine.visits.nodes)]
        self._watched = engine.visits = _Watched(engine.visits)
        self.samples = int(parts.data.samples.sum())
        self.batches = -(-self.samples // plan.config.training.batch_size)

    @property
    def phases(self) -> Phases:
        """What visits send in each batch, by the formulas; nothing without visits."""
        return self.execution.account.phases if self.execution.account else ()

    def step(self) -> Step:
        """Trains on the next batch."""
        interval = drive(self.execution.advance(self._number, lambda told: True), self._train)
        self._number += 1
        parameters = self._population.X[0, : self._population.trained].clone()
        watched = self._watched
        return Step(self._loss, watched.gradient, parameters, watched.rows, interval.traffic)

    def _train(self, request: BatchesRequest) -> Trained:
        trained = self._engine.train(request)
        self._loss = self._watched.loss / int(trained.answers.sum())
        return trained

    def test_accuracy(self) -> float:
        """The accuracy on the test set; NaN if the loss is not finite, as answers then mean nothing."""
        found = self._evaluate(range(1), mean=False)
        return float(found.test_acc[0]) if np.isfinite(found.test_loss[0]) else float("nan")


class _Watched(Visits):
    """Visits whose last batch is kept.

    Attributes:
        rows: samples of each node in it, [n].
        gradient: its gradient, [parameters].
        loss: the sum of its losses.
    """

    rows: NDArray[np.int64]
    gradient: Tensor
    loss: float

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def gradients(self, request: BatchesRequest) -> Iterator[list[Tensor]]:
        """Those of the visits."""
        batches = request.plan.rows[request.first : request.stop]
        for rows, found in zip(batches, self._visits.gradients(request), strict=True):
            self.rows = rows
            self.gradient = torch.cat([part.flatten() for part in found])
            yield found

    def sums(self) -> Tensor:
        """Those of the visits."""
        found = self._visits.sums()
        self.loss = float(found[0].sum())
        return found
