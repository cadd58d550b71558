"""The batched engine: all nodes take each step at once, as operations on whole stacks of models.

It gives the numbers of the loop engine to rounding: the same batches in the same order, the same formulas.
The matrices of all nodes are multiplied in one call, where the loop makes one for each node, which costs more
than the arithmetic of a small model. Nodes have different numbers of samples. So they are sorted by their
number of steps, and a step is taken by the first of them; and a last, smaller batch is filled up with
repetitions of its last sample, which weigh nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import randomness
from dml.data.ood import NodeData
from dml.population import Population
from dml.training import gradients, optimizers
from dml.training.config import TrainingConfig
from dml.training.tensors import computing, inputs


@dataclass(frozen=True)
class _Block:
    """Nodes that train together, by falling number of steps.

    Args:
        nodes: which, [m].
        rows: the same, on the accelerator.
        together: their models lie together in this order in X.
        steps: number of nodes and samples a node of each step.
        positions: the samples of all steps, by their place in the nodes' data one after another.
        counts: 1 for each of them, 0 for a repetition that fills up a batch.
        weights: the same, over the number of answers of the node's batch.
    """

    nodes: NDArray[np.int64]
    rows: Tensor
    together: bool
    steps: list[tuple[int, int]]
    positions: Tensor
    counts: Tensor
    weights: Tensor


class BatchedEngine:
    """Trains nodes' models in place, all at once.

    Args:
        population: the models; without buffers, and without dml's dropout.
        data: training data a node; moved to the models' accelerator once.
        training: optimiser, batch size.
        shuffle: a new batch order in every pass, keyed by (seed, node, pass).
        seed: the experiment's seed.

    Attributes:
        passes: passes that each node has made over its data, [n]; part of a checkpoint.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        shuffle: bool,
        seed: int,
    ) -> None:
        self._X = X = population.X
        self._size, self._shuffle, self._seed = training.batch_size, shuffle, seed
        self._x = inputs(np.concatenate(data.x), X)
        self._y = torch.from_numpy(np.concatenate(data.y)).to(X.device)
        self._answers = self._y[0].numel()
        self._samples = data.samples
        self._first = np.cumsum(self._samples) - self._samples
        self._gradients = gradients.of(population.modules[0], population.tensors)
        self._optimizer = optimizers.make(list(X.unbind(0)), training)
        self._most = gradients.block(X)
        self._computing = computing(training.precision, X.device)
        self._blocks: list[_Block] = []
        self._planned = np.empty(0, np.int64)
        self.passes = np.zeros(len(X), np.int64)

    def begin_round(self) -> None:
        """Optimisers start afresh in every round (as published)."""
        self._optimizer.reset()

    def epoch(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One pass of the given nodes over their data.

        Returns:
            The mean cross entropy and the accuracy over the answers (labels, or next tokens) of the pass,
            each taken at the step that saw the sample, [n]; NaN for a node that did not train.
        """
        loss = np.full(len(self._X), np.nan, np.float32)
        accuracy = loss.copy()
        if not np.array_equal(nodes, self._planned):
            self._blocks, self._planned = self._plan(nodes), nodes.copy()
        sums = [self._pass(block) for block in self._blocks]
        if sums:
            # Read once for all nodes: on an accelerator each reading waits for the device.
            total = torch.cat(sums).cpu().numpy()
            trained = np.concatenate([block.nodes for block in self._blocks])
            means = total / (self._samples[trained] * self._answers)[:, None]
            loss[trained], accuracy[trained] = means.T
        self.passes[nodes] += 1
        return loss, accuracy

    def _plan(self, nodes: NDArray[np.int64]) -> list[_Block]:
        steps = -(-self._samples[nodes] // self._size)
        order = nodes[np.argsort(-steps, kind="stable")]
        return [self._block(order[i : i + self._most]) for i in range(0, len(order), self._most)]

    def _block(self, nodes: NDArray[np.int64]) -> _Block:
        samples = self._samples[nodes][:, None]
        first = np.cumsum(samples)[:, None] - samples
        steps, positions, counts, weights = [], [], [], []
        for start in range(0, int(samples.max()), self._size):
            m = int((samples > start).sum())
            place = np.arange(start, min(start + self._size, int(samples[:m].max())))
            counted = place < samples[:m]
            steps.append(counted.shape)
            # A batch is filled up with a sample of its own: the last one.
            positions.append((first[:m] + np.minimum(place, samples[:m] - 1)).ravel())
            counts.append(counted.ravel())
            weights.append((counted / (counted.sum(1, keepdims=True) * self._answers)).ravel())
        device = self._X.device
        return _Block(
            nodes,
            torch.from_numpy(nodes).to(device),
            bool((np.diff(nodes) == 1).all()),
            steps,
            torch.from_numpy(np.concatenate(positions)).to(device),
            torch.from_numpy(np.concatenate(counts)).to(self._X),
            torch.from_numpy(np.concatenate(weights)).to(self._X),
        )

    def _order(self, nodes: NDArray[np.int64]) -> Tensor:
        """The samples of these nodes, one node after another, in the order of their next pass."""
        if self._shuffle:
            orders = [
                self._first[node]
                + randomness.generator(self._seed, "batch order", node, int(self.passes[node])).permutation(
                    self._samples[node]
                )
                for node in nodes.tolist()
            ]
        else:
            orders = [self._first[node] + np.arange(self._samples[node]) for node in nodes]
        return torch.from_numpy(np.concatenate(orders)).to(self._X.device)

    def _pass(self, block: _Block) -> Tensor:
        """Trains some nodes for one pass; the sums of their losses, and their hits, [m, 2] float64."""
        first = int(block.nodes[0])
        models = self._X[first : first + len(block.nodes)] if block.together else self._X[block.rows]
        optimizer = self._optimizer.part(block.nodes.tolist(), list(models.unbind(0)))
        samples = self._order(block.nodes)[block.positions]
        sums = torch.zeros(len(models), 2, dtype=torch.float64, device=models.device)
        start = 0
        for m, width in block.steps:
            stop = start + m * width
            batch, counts, weights = (
                t[start:stop].view(m, width) for t in (samples, block.counts, block.weights)
            )
            with self._computing:
                step = self._gradients(models[:m], self._x[batch], self._y[batch], weights)
            optimizer.step(list(step.gradient.unbind(0)))
            sums[:m, 0] += (step.losses * counts[..., None]).sum((1, 2))
            sums[:m, 1] += (step.hits * counts[..., None]).sum((1, 2))
            start = stop
        if not block.together:
            self._X[block.rows] = models
        return sums
