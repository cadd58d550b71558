"""Models of the nodes of one experiment, and engines that are asked round by round."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.data.ood import NodeData
from dml.population import Population, starts
from dml.training.config import TrainingConfig
from dml.training.engine import Engine
from dml.training.learning_rate import constant
from dml.training.orders import Passes
from dml.training.request import Request


def population_of(build: Any, n: int, seed: int = 0, *, same: bool = False, **options: Any) -> Population:
    """One row per node."""
    return Population(build, starts(n, seed, same=same), **options)


class ByRound:
    """An engine whose row i is node i's model, as rounds ask it.

    Args:
        kind: of engine.
        population: the models.
        data: of the nodes.
        training: with the learning rate.
        shuffle: a new batch order in every pass.
        seed: of the orders.
        keep_optimizers: optimisers continue from round to round.
        **more: for the engine.
    """

    def __init__(
        self,
        kind: type[Engine],
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        shuffle: bool = True,
        seed: int = 0,
        keep_optimizers: bool = False,
        **more: Any,
    ) -> None:
        orders = Passes(data.samples, training.batch_size, shuffle, np.full(len(data.y), seed))
        self.engine = kind(population, data, training, orders, keep_optimizers, **more)
        self._rate, self._n = constant(training.lr), len(data.y)
        self._begins: tuple[bool, Tensor | None] = True, None

    @property
    def orders(self) -> Passes:
        return self.engine.orders

    def begin_round(self, momentum: Tensor | None = None) -> None:
        self._begins = True, momentum

    def epoch(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One pass of some nodes; losses and accuracies of all, [n], NaN for the others."""
        return self._train(nodes, self.orders.batches[nodes])

    def steps(self, nodes: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Some steps of some nodes; losses and accuracies as of an epoch."""
        return self._train(nodes, np.full(len(nodes), count))

    def _train(
        self, nodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        loss, accuracy = np.full((2, self._n), np.nan, np.float32)
        if len(nodes):
            (begins, momentum), self._begins = self._begins, (False, None)
            own = None if momentum is None else momentum[nodes]
            rates = self._rate(0, np.zeros((len(nodes), steps.max()), np.int64))
            trained = self.engine.train(Request(nodes, nodes, steps, rates, begins, own))
            loss[nodes], accuracy[nodes] = trained.loss, trained.accuracy
        return loss, accuracy

    def state(self) -> dict[str, NDArray[Any]]:
        return self.engine.state()

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        self.engine.load_state(state)
