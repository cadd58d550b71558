"""A round of any synchronous algorithm: who takes part, local training, then the algorithm's rule.

One round t, on the population matrix X [n, P]:

    1. S = the nodes that take part, max(1, floor(n x participation)) of those n that live, drawn without
       replacement
    2. x_i <- local epochs, or a number of local steps, on node i's data, for i in S
    3. the rule makes x(t + 1) of all models
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml import randomness
from dml.algorithms.living import Living
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic
from dml.training.config import TrainingConfig
from dml.training.engines import Engine

AfterEpoch = Callable[[int, NDArray[np.float32], NDArray[np.float32]], None]
"""Called after each local epoch, or after the round's steps, with its number, and the nodes' training losses
and accuracies [n]."""

_RULE = "rule_"
"""What the rule's part of the state is called by."""


def selected(n: int, participation: float, seed: int, number: int) -> NDArray[np.bool_]:
    """Who takes part in a round, [n]."""
    # Rounded first, so that 0.1 x 30 is 3 whatever the last bit says.
    count = max(1, int(round(n * participation, 9)))
    result = np.zeros(n, bool)
    if count == n:
        result[:] = True
    else:
        result[randomness.generator(seed, "selected nodes", number).permutation(n)[:count]] = True
    return result


class Rounds:
    """The rounds of one experiment.

    Args:
        rule: the algorithm.
        X: what it works on, [n, P]: the population's matrix, or a view of its first columns.
        engine: trains the nodes locally.
        training: how; its learning rate is the one that is trained with.
        participation: share of the nodes that take part in a round.
        seed: the experiment's seed.
        living: which nodes live in which round; None where none fails.
    """

    def __init__(
        self,
        rule: Rule,
        X: Tensor,
        engine: Engine,
        training: TrainingConfig,
        participation: float,
        seed: int,
        living: Living | None = None,
    ) -> None:
        self._rule, self._X, self._engine, self._training = rule, X, engine, training
        self._participation, self._seed, self._living = participation, seed, living
        # Nodes with more data take more steps an epoch; a rule has one learning rate for all.
        steps = training.local_steps or training.epochs * float(np.mean(engine.batches))
        self._lr = training.lr * steps if training.train else 0.0

    def advance(self, number: int, after_epoch: AfterEpoch) -> Traffic:
        """One round; ``after_epoch`` is called after each local epoch, or the steps, and before the rule."""
        nodes = np.flatnonzero(self.selected(number))
        self._rule.before(self._X, number)
        if not self._training.train:
            missing = np.full(len(self._X), np.nan, np.float32)
            after_epoch(0, missing, missing)
            return self._rule.after(self._X, number, self._lr)
        self._engine.begin_round(self._rule.momentum())
        if self._training.local_steps:
            after_epoch(0, *self._engine.steps(nodes, self._training.local_steps))
        else:
            for epoch in range(self._training.epochs):
                after_epoch(epoch, *self._engine.epoch(nodes))
        return self._rule.after(self._X, number, self._lr)

    def selected(self, number: int) -> NDArray[np.bool_]:
        """Who takes part in a round, [n]."""
        if self._living is None:
            return selected(len(self._X), self._participation, self._seed, number)
        result = self._living.at(number)
        result[result] = selected(int(result.sum()), self._participation, self._seed, number)
        return result

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """What the rule tells of the last round, by the metric's name, [n] each."""
        return self._rule.measures()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What a checkpoint needs beside the models."""
        return self._engine.state() | {_RULE + name: value for name, value in self._rule.state().items()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Goes on from what :meth:`state` returned."""
        own = {name: value for name, value in state.items() if not name.startswith(_RULE)}
        self._engine.load_state(own)
        self._rule.load_state(
            {name.removeprefix(_RULE): v for name, v in state.items() if name.startswith(_RULE)}
        )
