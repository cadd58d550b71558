"""Synchronous rounds: who takes part, local training, then the algorithm's rule.

One round t, on the matrix X [n, P] of the nodes' models:

    1. S = the nodes that take part, of those that have not failed (:mod:`dml.execution.participation`)
    2. x_i <- local epochs, or a number of local steps, on node i's data, for i in S
    3. the rule makes x(t + 1) of all models

If nobody takes part, nobody trains, and the learning rate of the round is 0.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.node_failures import FailureSchedule
from dml.algorithms.rule import Rule
from dml.clock.rounds import RoundCost
from dml.execution.execution import Execution, Interval, LocalTraining, Measure, Steps
from dml.execution.participation import Participation
from dml.training.config import TrainingConfig
from dml.training.learning_rate import LearningRate, round_sum
from dml.training.request import Request, Trained

_RULE = "rule_"
"""The prefix of the rule's part of the state."""


class Rounds(Execution):
    """The rounds of one experiment; the rows of X are the models of the nodes that live here.

    Args:
        rule: the algorithm.
        X: what the rule works on, [rows, P]: the population's matrix, or a view of its first columns.
        batches: steps that one pass of each node over its data takes, [n].
        training: how nodes train.
        rate: the learning rate.
        participation: who takes part in a round; by default all nodes.
        failures: which nodes have failed in which round.
    """

    def __init__(
        self,
        rule: Rule,
        X: Tensor,
        batches: NDArray[np.int64],
        training: TrainingConfig,
        rate: LearningRate,
        participation: Participation | None = None,
        failures: FailureSchedule | None = None,
    ) -> None:
        self._rule, self._X, self._batches, self._training = rule, X, batches, training
        self._rate, self._failures = rate, failures
        self._n = len(batches)
        self._participation = participation or Participation(self._n)

    def advance(self, number: int, measure: Measure) -> Steps:
        """One round; ``measure`` is called after each epoch, or after the steps, and before the rule."""
        taking_part, training = self.taking_part(number), self._training
        self._rule.before(self._X, number, taking_part)
        opening = self._rule.traffic()
        if training.train and taking_part.any():
            updates, nodes = 0, np.flatnonzero(taking_part)
            for epoch, request in enumerate(self._requests(number, nodes)):
                trained = yield request
                if epoch == (0 if training.local_steps else training.epochs - 1):
                    updates = len(nodes)
                measure(self._told(epoch, nodes, trained, updates))
            lr = round_sum(self._rate, number, self._steps())
        else:
            nobody, nothing = np.empty(0, np.int64), np.empty(0, np.float32)
            for epoch in range(self._passes() if training.train else 1):
                measure(self._told(epoch, nobody, Trained(nothing, nothing, nobody, nobody), 0))
            lr, nodes = 0.0, nobody
        with torch.no_grad():
            self._rule.after(self._X, number, lr)
        done, steps = np.zeros((2, self._n), np.int64)
        done[nodes], steps[nodes] = 1, self._steps()[nodes]
        closing = self._rule.traffic()
        cost = RoundCost(steps, opening.path, closing.path)
        return Interval(opening + closing if opening.path.hops else closing, done, cost=cost)

    def _steps(self) -> NDArray[np.int64]:
        """Steps of each node in a round, if it takes part, [n]."""
        if self._training.local_steps:
            return np.full(len(self._batches), self._training.local_steps)
        return self._training.epochs * self._batches

    def _passes(self) -> int:
        """Requests of a round, after each of which the models may be measured."""
        return 1 if self._training.local_steps else self._training.epochs

    def _requests(self, number: int, nodes: NDArray[np.int64]) -> Iterator[Request]:
        """Whole passes, or the steps of the round at once."""
        passes = self._passes()
        steps = self._steps()[nodes] // passes
        momentum, here = self._rule.momentum(), self._rule.exchange.here
        rows = nodes[(nodes >= here.start) & (nodes < here.stop)] - here.start
        if momentum is not None and len(rows) < len(momentum):
            momentum = momentum[torch.from_numpy(rows).to(momentum.device)]
        correction = self._rule.correction()
        for epoch in range(passes):
            step = epoch * steps[:, None] + np.arange(steps.max())
            rates = self._rate(number, step)
            first = epoch == 0
            begun = momentum if first else None
            yield Request(nodes, nodes, steps, rates, begins=first, momentum=begun, correction=correction)

    def _told(self, epoch: int, nodes: NDArray[np.int64], trained: Trained, updates: int) -> LocalTraining:
        loss, accuracy = np.full((2, self._n), np.nan, np.float32)
        loss[nodes], accuracy[nodes] = trained.loss, trained.accuracy
        mask = np.zeros(self._n, bool)
        mask[nodes] = True
        return LocalTraining(epoch, loss, accuracy, mask, updates)

    def taking_part(self, number: int) -> NDArray[np.bool_]:
        """Who takes part in a round, [n]."""
        alive = None if self._failures is None else self._failures.alive(number)
        return self._participation(number, alive)

    def node_rows(self) -> range:
        """All rows of X, over all processes."""
        return range(self._n)

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """What the rule says about the last round."""
        return self._rule.measures()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The rule's memory."""
        return {_RULE + name: value for name, value in self._rule.state().items()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`state` returned."""
        own = {name.removeprefix(_RULE): v for name, v in state.items() if name.startswith(_RULE)}
        self._rule.load_state(own)
