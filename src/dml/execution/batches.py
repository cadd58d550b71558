"""One model on virtual batches: passes over the samples of all nodes, as if they were in one place.

A round is a number of passes, or a number of batches; batches go on where the last round has ended within a
pass. X has one row.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.clock.rounds import RoundCost
from dml.exchange import traffic
from dml.exchange.traffic import Path
from dml.execution.execution import Execution, Interval, LocalTraining, Measure, Steps
from dml.training.config import TrainingConfig
from dml.training.learning_rate import LearningRate
from dml.training.request import Trained
from dml.traversal.account import Account
from dml.traversal.plan import EpochPlan, Plans
from dml.traversal.request import BatchesRequest


class Batches(Execution):
    """The rounds of one experiment with one model.

    Args:
        plans: the plan of each pass.
        n: the number of nodes.
        m: the number of edges.
        training: how long a round is.
        rate: the learning rate, by the number of the pass and the batch within it.
        account: what visits cost; None if nothing is sent.
        facts: about the experiment, for attributes of the file.
    """

    def __init__(
        self,
        plans: Plans,
        n: int,
        m: int,
        training: TrainingConfig,
        rate: LearningRate,
        account: Account | None = None,
        facts: Mapping[str, str | int] = MappingProxyType({}),
    ) -> None:
        self._plans, self._n, self._m, self._training, self._rate = plans, n, m, training, rate
        self._account, self._facts = account, dict(facts)
        self._passes, self._taken = 0, 0
        self._plan: EpochPlan | None = None

    def advance(self, number: int, measure: Measure) -> Steps:
        """One round; ``measure`` is called after each pass, or after the batches."""
        training, begins, steps = self._training, True, 0
        bytes_sent, seconds = traffic.none(self._n, self._m), 0.0 if self._account else float("nan")
        times = 1 if training.local_steps else training.epochs
        for epoch in range(times):
            left = training.local_steps or self._current().batches
            steps += left
            sums = np.zeros((4, self._n))
            while left:
                request = self._request(left, begins, last=epoch == times - 1)
                sums += _sums((yield request))
                left -= request.stop - request.first
                begins = False
                if self._account:
                    more, longer = self._account.of(request)
                    bytes_sent, seconds = bytes_sent + more, seconds + longer
            told = _told(epoch, sums, self._n if epoch == times - 1 else 0)
            measure(replace(told, sent=int(bytes_sent.sent.sum()), seconds=seconds))
        updates = np.ones(self._n, np.int64)
        if self._account:
            return Interval(bytes_sent, updates, seconds)
        # A round takes as long as one node would take with all samples.
        cost = RoundCost(np.append(steps, np.zeros(self._n - 1, np.int64)), Path(), Path())
        return Interval(bytes_sent, updates, cost=cost)

    def _current(self) -> EpochPlan:
        """The plan of the pass that is under way, or begins."""
        if self._plan is None or self._plan.number != self._passes:
            self._plan = self._plans(self._passes)
        return self._plan

    def _request(self, most: int, begins: bool, last: bool) -> BatchesRequest:
        """The next batches of the pass, no more than ``most`` of them, after which a round may end."""
        plan, first = self._current(), self._taken
        stop = min(first + most, plan.batches)
        rates = self._rate(self._passes, np.arange(first, stop))
        self._passes, self._taken = (self._passes + 1, 0) if stop == plan.batches else (self._passes, stop)
        return BatchesRequest(plan, first, stop, rates, begins, ends=last and stop - first == most)

    @property
    def measures_last(self) -> bool:
        """The last batch of a round is its end."""
        return True

    @property
    def account(self) -> Account | None:
        """What visits cost; None if nothing is sent."""
        return self._account

    def facts(self) -> dict[str, str | int]:
        """What is known before the first round."""
        return self._facts

    def node_rows(self) -> None:
        """No row of X belongs to a node."""
        return

    def one_row(self) -> int:
        """The only one."""
        return 0

    def state(self) -> dict[str, NDArray[Any]]:
        """How many passes have been finished, and how many batches of the next one were taken."""
        return {"passes": np.array(self._passes), "taken": np.array(self._taken)}

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned."""
        for name in ("passes", "taken"):
            if state[name].shape != () or state[name].dtype.kind not in "iu" or state[name] < 0:
                raise ValueError(f"{name} is no count")
        self._passes, self._taken = int(state["passes"]), int(state["taken"])
        if self._taken >= self._current().batches:
            raise ValueError("more batches of a pass were taken than it has")


def _sums(trained: Trained) -> NDArray[np.float64]:
    """Sums of losses and hits, and how many answers they are over, [4, n]."""
    counts = np.stack([trained.answers, trained.judged])
    # A node without answers has no mean, and adds nothing.
    sums = np.where(counts > 0, np.stack([trained.loss, trained.accuracy]) * counts, 0)
    return np.concatenate([sums, counts])


def _told(epoch: int, sums: NDArray[np.float64], updates: int) -> LocalTraining:
    loss, hits, counted, judged = sums
    with np.errstate(invalid="ignore"):
        means = (loss / counted).astype(np.float32), (hits / judged).astype(np.float32)
    return LocalTraining(epoch, *means, counted > 0, updates)
