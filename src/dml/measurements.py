"""Decides when an experiment is measured, and ends it if it diverges."""

from dataclasses import replace

import numpy as np

from dml.execution.execution import Execution, LocalTraining, Measure
from dml.plan import Plan
from dml.results.record import FINAL, Record
from dml.training.evaluate import Evaluator, Scores


class Diverged(Exception):
    """The training loss of a node is no longer finite; the last row shows it."""


class Measurements:
    """Adds rows to a record.

    Args:
        plan: the experiment.
        execution: the execution, which moves the models.
        evaluate: measures the models.
        record: the record that gets the rows.
    """

    def __init__(self, plan: Plan, execution: Execution, evaluate: Evaluator, record: Record) -> None:
        self._plan, self._execution, self._evaluate, self.record = plan, execution, evaluate, record

    def of_round(self, number: int) -> Measure:
        """The function that an execution calls in a round whenever the models may be measured.

        It raises :class:`Diverged` if the training loss of a node is not finite.
        """
        every, last_epoch = self._plan.measured_every, max(0, self._plan.epochs - 1)
        due = every is None or (number + 1) % every == 0 or number + 1 == self._plan.config.run.rounds

        def measure(training: LocalTraining) -> bool:
            diverged = not np.isfinite(training.loss[training.trained]).all()
            on_grid = due and (every is None or training.epoch == last_epoch)
            if on_grid or diverged:
                self.record.add(number, training, self._scores())
            if diverged:
                raise Diverged
            return on_grid

        return measure

    def final(self) -> None:
        """Adds the row after the last aggregation."""
        if self._execution.measures_last and self.record.round[-1:] == [self.record.rounds - 1]:
            self.record.repeat_last()
            return
        n = self._plan.topology.n
        loss, accuracy = np.full((2, n), np.nan, np.float32)
        nothing = LocalTraining(FINAL, loss, accuracy, np.zeros(n, bool), updates=0, seconds=0.0)
        self.record.add(self.record.rounds - 1, nothing, self._scores())

    def _scores(self) -> Scores:
        """The scores of the current models, with the execution's measurements of its last round."""
        rows = self._execution.node_rows()
        assert rows is not None, "all executions so far have a model per node"
        scores = self._evaluate(rows, self._execution.singles())
        return replace(scores, more=scores.more | self._execution.measures())
