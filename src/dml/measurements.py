"""Decides when an experiment is measured, and ends it if it diverges."""

from dataclasses import replace
from typing import Any

import numpy as np

from dml.execution.execution import Execution, LocalTraining, Measure
from dml.plan import Plan
from dml.results.record import EVALUATED, FINAL, MEAN_MODEL, Record
from dml.shards import SharedEvaluator
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

    def __init__(
        self, plan: Plan, execution: Execution, evaluate: Evaluator | SharedEvaluator, record: Record
    ) -> None:
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
            # A row of the last round that is asked for is dropped if more are asked for.
            return on_grid and (every is None or (number + 1) % every == 0)

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
        rows, walks = self._execution.node_rows(), self._execution.walk_rows()
        one, singles = self._execution.one_row(), self._execution.singles()
        if one is not None:
            scores = _of_all(self._evaluate(range(one, one + 1), singles, mean=False), self._plan.topology.n)
        elif walks is None:
            assert rows is not None, "an execution has models of nodes, or walks"
            scores = self._evaluate(rows, singles)
        else:
            of_walks = self._evaluate(walks, singles, of_nodes=False)
            nodes = _nothing(of_walks, self._plan.topology.n) if rows is None else self._evaluate(rows)
            named = {name: getattr(of_walks, name) for name in EVALUATED}
            consensus = {"consensus_distance": of_walks.more["consensus_distance"]}
            scores = replace(nodes, walks=named | consensus, singles=of_walks.singles)
        return replace(scores, more=scores.more | self._execution.measures())


def _of_all(scores: Scores, n: int) -> Scores:
    """The scores of one model as those of each of n nodes, and as those of their average."""
    arrays: dict[str, Any] = {
        name: np.repeat(getattr(scores, name), n, axis=0)
        for name in (*EVALUATED, "tp", "predicted", "support")
    }
    more = {
        name: values if len(values) == n else np.repeat(values, n) for name, values in scores.more.items()
    }
    own = {MEAN_MODEL: {name: float(getattr(scores, name)[0]) for name in EVALUATED}}
    return replace(scores, **arrays, more=more, singles=own | scores.singles)


def _nothing(like: Scores, n: int) -> Scores:
    """The scores of n nodes that have no models."""
    missing = np.full(n, np.nan, np.float32)
    nobody = np.zeros((n, like.tp.shape[1]), np.int32)
    return Scores(
        test_loss=missing,
        test_acc=missing,
        ood_loss=missing,
        ood_acc=missing,
        ood_asr=missing,
        tp=nobody,
        predicted=nobody,
        support=nobody,
        more={"consensus_distance": missing},
    )
