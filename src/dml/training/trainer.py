"""What both engines share: how far each node has gone over its data, and what its optimiser remembers.

A pass of a node goes over its samples once, in an order keyed by (seed, node, pass), a batch a step; its last
batch may be smaller. The next step of a node goes on where its last one ended, whatever round it is.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml import randomness
from dml.data.ood import NodeData
from dml.population import Population
from dml.training import optimizers
from dml.training.config import TrainingConfig


class Trainer(ABC):
    """Trains nodes' models in place; an engine says how some nodes take their next steps.

    Args:
        population: the models.
        data: training data a node.
        training: optimiser, batch size.
        shuffle: a new batch order in every pass, keyed by (seed, node, pass).
        seed: the experiment's seed.
        keep_optimizers: optimisers go on from round to round, and are part of a checkpoint.

    Attributes:
        passes: passes that each node has made over its data, [n].
        taken: steps that it has taken within the pass that it has not finished, [n].
        batches: steps that one pass takes, [n].
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        shuffle: bool,
        seed: int,
        keep_optimizers: bool,
    ) -> None:
        self._X, self._samples, self._answers = population.X, data.samples, math.prod(data.y[0].shape[1:])
        self._size, self._shuffle, self._seed = training.batch_size, shuffle, seed
        self._memory = optimizers.Memory(population.X, population.trained, training)
        self._keep, self._stepped = keep_optimizers, False
        self.batches: NDArray[np.int64] = -(-self._samples // self._size)
        self.passes, self.taken = np.zeros((2, len(self._X)), np.int64)

    def begin_round(self, momentum: Tensor | None = None) -> None:
        """Optimisers start afresh (as published), or go on where ``keep_optimizers`` was asked for.

        Args:
            momentum: what the momentum of SGD starts this round from, [n, trained parameters or more], of
                X's type and on its accelerator; it is copied.

        Raises:
            ValueError: the optimiser has no momentum.
        """
        if not self._keep:
            self._memory.forget()
        if momentum is not None:
            self._memory.start_from(momentum)

    def epoch(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One pass of the given nodes over their data: as many steps as it has batches.

        Returns:
            The mean cross entropy and the accuracy over the answers (labels, or next tokens) of the pass,
            each taken at the step that saw the sample, [n]; NaN for a node that did not train.
        """
        return self._train(nodes, self.batches[nodes])

    def steps(self, nodes: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """So many optimiser steps of each of the given nodes, on the batches that come next.

        Args:
            nodes: which.
            count: at least 1; it may span several passes.

        Returns:
            Losses and accuracies over the answers of these steps, as of :meth:`epoch`.
        """
        self._stepped = True
        return self._train(nodes, np.full(len(nodes), count, np.int64))

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint between two rounds needs beside the models.

        ``passes``; ``taken`` once steps were asked for; and what the optimisers remember, where they are
        kept. The arrays change with the next step: who keeps them copies them.
        """
        state: dict[str, NDArray[Any]] = {"passes": self.passes}
        if self._stepped or self.taken.any():
            state["taken"] = self.taken
        return state | (self._memory.arrays() if self._keep else {})

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Goes on, bit for bit, from what :meth:`state` of an engine of the same kind returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape, or a pass fewer batches than were taken.
        """
        for name in ("passes", "taken"):
            if name in state and state[name].shape != self.passes.shape:
                raise ValueError(f"{name} has the shape {state[name].shape}")
        self.passes[:] = state["passes"]
        self.taken[:] = state.get("taken", 0)
        self._stepped = "taken" in state
        if ((self.taken < 0) | (self.taken >= self.batches)).any():
            raise ValueError("a node has taken more steps of a pass than it has")
        if self._keep:
            self._memory.load(state)

    def _train(
        self, nodes: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        loss = np.full(len(self._X), np.nan, np.float32)
        accuracy = loss.copy()
        ends = self.taken[nodes] + counts
        if len(nodes):
            sums = self._sums(nodes, counts)
            answers = (self._seen(nodes, ends) - self._seen(nodes, self.taken[nodes])) * self._answers
            loss[nodes], accuracy[nodes] = (sums / answers[:, None]).T
        whole, self.taken[nodes] = np.divmod(ends, self.batches[nodes])
        self.passes[nodes] += whole
        return loss, accuracy

    def _seen(self, nodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples that these nodes have seen after some steps from the start of a pass."""
        whole, rest = np.divmod(steps, self.batches[nodes])
        seen: NDArray[np.int64] = whole * self._samples[nodes] + rest * self._size
        return seen

    def _order(self, node: int, number: int) -> NDArray[np.int64]:
        """The order in which a node goes over its samples in a pass."""
        if not self._shuffle:
            return np.arange(self._samples[node])
        rng = randomness.generator(self._seed, "batch order", node, number)
        return rng.permutation(self._samples[node])

    @abstractmethod
    def _sums(self, nodes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Trains nodes for so many steps each; the sums of their losses, and their hits, [len(nodes), 2]."""
