"""What both engines share: requests, progress over each node's data, and the memory of optimisers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.data.ood import NodeData
from dml.population import Population
from dml.training import optimizers
from dml.training.config import TrainingConfig
from dml.training.gradients import Step
from dml.training.orders import Passes
from dml.training.request import Request, Trained
from dml.training.tensors import inputs


@dataclass(frozen=True)
class Work:
    """Rows that are trained side by side, each on a node of its own.

    Args:
        rows: of X, [m].
        nodes: whose data each is trained on, all different, [m].
        slots: of the optimisers' memory, all different, [m].
        numbers: the pass of the node in which each starts, [m].
        first: the step within that pass, [m].
        steps: how many, [m].
        rates: the learning rate of each step, [m, s].
    """

    rows: NDArray[np.int64]
    nodes: NDArray[np.int64]
    slots: NDArray[np.int64]
    numbers: NDArray[np.int64]
    first: NDArray[np.int64]
    steps: NDArray[np.int64]
    rates: NDArray[np.float64]

    def __getitem__(self, which: NDArray[np.int64]) -> "Work":
        """Some of it."""
        parts = (getattr(self, name)[which] for name in self.__dataclass_fields__)
        return Work(*parts)


class Engine(ABC):
    """Trains rows of the population in place; a subclass says how.

    Args:
        population: the models.
        data: the training data of each node.
        training: optimiser, batch size.
        orders: who sees which samples next.
        keep_optimizers: optimisers continue from round to round, and are part of a checkpoint.
        memory_of: whether the memory of an optimiser belongs to a row of X, or to a node and all rows that
            are trained there.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        orders: Passes,
        keep_optimizers: bool = False,
        memory_of: Literal["row", "node"] = "row",
    ) -> None:
        self.orders, self._X, self._trained = orders, population.X, population.trained
        self._answers = math.prod(data.y[0].shape[1:])
        self._keep, self._memory_of = keep_optimizers, memory_of
        slots = len(population.X) if memory_of == "row" else len(data.y)
        self._memory = optimizers.Memory(population.X, slots, population.trained, training)
        # All nodes' samples one after another; each node's are a part of them.
        self._x = inputs(np.concatenate(data.x), population.X)
        self._y = torch.from_numpy(np.concatenate(data.y)).to(population.X.device)
        self._first_sample = np.cumsum(data.samples) - data.samples

    def train(self, request: Request) -> Trained:
        """Trains rows of X on nodes' data.

        Raises:
            ValueError: a row is named twice, or the optimiser has no momentum to start from.
        """
        if _repeats(request.rows):
            raise ValueError("a request names a row twice")
        slots = request.rows if self._memory_of == "row" else request.nodes
        if request.begins:
            self._begin(slots, request.momentum)
        numbers, first = self.orders.take(request.nodes, request.steps)
        work = Work(request.rows, request.nodes, slots, numbers, first, request.steps, request.rates)
        sums = np.empty((len(request.rows), 2))
        for turn in _turns(request.nodes):
            sums[turn] = self._sums(work if len(turn) == len(sums) else work[turn])
        seen = self.orders.seen(request.nodes, first, request.steps) * self._answers
        loss, accuracy = (sums / seen[:, None]).T.astype(np.float32)
        return Trained(loss, accuracy)

    def _begin(self, slots: NDArray[np.int64], momentum: Tensor | None) -> None:
        """Optimisers start again (as published), or continue if they are kept."""
        if not self._keep:
            self._memory.forget(slots)
        if momentum is not None:
            self._memory.start_from(slots, momentum)

    @abstractmethod
    def _sums(self, work: Work) -> NDArray[np.float64]:
        """Trains the rows; the sums of their losses, and their hits, [m, 2]."""

    @abstractmethod
    def gradients(self, rows: NDArray[np.int64], samples: NDArray[np.int64], weights: Tensor) -> Step:
        """The gradients of some rows on some samples, without a step.

        Args:
            rows: of X, [m].
            samples: positions in all nodes' samples one after another (:meth:`position`), [m, w].
            weights: of the answers of each sample in the sum whose gradient is taken, [m, w].
        """

    def position(self, node: int, sample: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where samples of a node stand among all nodes' samples."""
        position: NDArray[np.int64] = self._first_sample[node] + sample
        return position

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint between two rounds needs besides the models.

        It must be written before the next request, which may change the arrays.
        """
        return self.orders.state() | (self._memory.arrays() if self._keep else {})

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues, bit for bit, from what :meth:`state` of an engine of the same kind returned.

        Raises:
            KeyError: something is missing.
            ValueError: something does not fit.
        """
        self.orders.load_state(state)
        if self._keep:
            self._memory.load(state)


def _repeats(numbers: NDArray[np.int64]) -> bool:
    """Whether a number stands there twice; numbers that rise, as most do, are told apart without sorting."""
    return not (numbers[1:] > numbers[:-1]).all() and len(np.unique(numbers)) < len(numbers)


def _turns(nodes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The entries in groups in which no node is named twice; a node's entries keep their order."""
    if not _repeats(nodes):
        yield np.arange(len(nodes))
        return
    order = np.argsort(nodes, kind="stable")
    _, first, which = np.unique(nodes[order], return_index=True, return_inverse=True)
    turn = np.empty(len(nodes), np.int64)
    turn[order] = np.arange(len(nodes)) - first[which]
    for number in range(int(turn.max()) + 1):
        yield np.flatnonzero(turn == number)
