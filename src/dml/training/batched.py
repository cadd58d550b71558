"""The batched engine: all nodes take each step at once, as operations on whole stacks of models.

It gives the numbers of the loop engine to rounding: the same batches in the same order, the same formulas.
The matrices of all nodes are multiplied in one call, where the loop makes one for each node, which costs more
than the arithmetic of a small model. Nodes have different numbers of samples. So they are sorted by their
number of steps, and a step is taken by the first of them; and a last, smaller batch is filled up with
repetitions of its last sample, which weigh nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import accelerators
from dml.data.ood import NodeData
from dml.population import Population
from dml.training import gradients
from dml.training.config import TrainingConfig
from dml.training.tensors import computing, inputs
from dml.training.trainer import Trainer


@dataclass(frozen=True)
class _Block:
    """Nodes that train together, by falling number of steps, and what they go over.

    Args:
        nodes: which, [m].
        rows: the same, on the accelerator.
        together: their models lie together in this order in X.
        steps: number of nodes and samples a node of each step.
        places: of the samples of all steps, in the nodes' orders one after another.
        passes: for the pass that the nodes are in, and each one after it that they come to: which nodes go
            over samples of it, and which of ``places`` are theirs.
        counts: 1 for each place, 0 for a repetition that fills up a batch.
        weights: the same, over the number of answers of the node's batch.
    """

    nodes: NDArray[np.int64]
    rows: Tensor
    together: bool
    steps: list[tuple[int, int]]
    places: NDArray[np.int64]
    passes: list[tuple[NDArray[np.int64], NDArray[np.bool_]]]
    counts: Tensor
    weights: Tensor


class BatchedEngine(Trainer):
    """Trains nodes' models in place, all at once.

    Args:
        population: the models; without buffers, and without dml's dropout.
        data: training data a node; moved to the models' accelerator once.
        training: optimiser, batch size.
        shuffle: a new batch order in every pass, keyed by (seed, node, pass).
        seed: the experiment's seed.
        keep_optimizers: optimisers go on from round to round, and are part of a checkpoint.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        shuffle: bool,
        seed: int,
        keep_optimizers: bool = False,
    ) -> None:
        super().__init__(population, data, training, shuffle, seed, keep_optimizers)
        self._x = inputs(np.concatenate(data.x), self._X)
        self._y = torch.from_numpy(np.concatenate(data.y)).to(self._X.device)
        self._first = np.cumsum(self._samples) - self._samples
        # Each node's samples in the order of one of its passes, and which pass that is.
        self._orders, self._drawn = np.arange(self._samples.sum()), np.full(len(self._X), -1)
        self._gradients = gradients.of(population.modules[0], population.tensors)
        self._most = gradients.block(self._X)
        self._computing = computing(training.precision, self._X.device)
        self._blocks: list[_Block] = []
        self._planned = np.empty(0, np.int64)

    def _sums(self, nodes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        blocks = self._plan(nodes, counts)
        trained, sums = zip(*((block.nodes, self._steps(block)) for block in blocks), strict=True)
        total = np.empty((len(self._X), 2))
        # Read once for all nodes: on an accelerator each reading waits for the device.
        total[np.concatenate(trained)] = torch.cat(sums).cpu().numpy()
        return total[nodes]

    def _plan(self, nodes: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[_Block] | list[_Block]:
        """The blocks of some nodes; those of whole passes, which come again and again, are kept."""
        order = np.argsort(-counts, kind="stable")
        parts = (order[i : i + self._most] for i in range(0, len(order), self._most))
        blocks = (self._block(nodes[part], counts[part]) for part in parts)
        if self.taken[nodes].any() or not np.array_equal(counts, self.batches[nodes]):
            return blocks
        if not np.array_equal(nodes, self._planned):
            self._blocks, self._planned = list(blocks), nodes.copy()
        return self._blocks

    def _block(self, nodes: NDArray[np.int64], counts: NDArray[np.int64]) -> _Block:
        step = np.arange(counts[0])[:, None]
        ahead, batch = np.divmod(self.taken[nodes] + step, self.batches[nodes])
        steps_left = step < counts
        # Of each node and step, [steps, m]; then of each of their samples, [steps, m, w].
        start = batch * self._size
        width = np.minimum(self._size, self._samples[nodes] - start)
        widest = np.where(steps_left, width, 0).max(1)
        sample, width = np.arange(widest.max()), width[..., None]
        held = steps_left[..., None] & (sample < widest[:, None, None])
        counted = sample < width
        # A batch is filled up with a sample of its own: the last one.
        places = (self._first[nodes] + start)[..., None] + np.minimum(sample, width - 1)
        weights = counted / (width * self._answers)
        passes = []
        for number in range(int(ahead[steps_left].max()) + 1):
            of_pass = steps_left & (ahead == number)
            passes.append((nodes[of_pass.any(0)], np.broadcast_to(of_pass[..., None], held.shape)[held]))
        return _Block(
            nodes,
            accelerators.send(nodes, self._X.device),
            bool((np.diff(nodes) == 1).all()),
            list(zip(steps_left.sum(1).tolist(), widest.tolist(), strict=True)),
            places[held],
            passes,
            accelerators.send(counted[held], self._X.device).to(self._X.dtype),
            accelerators.send(weights[held], self._X.device).to(self._X.dtype),
        )

    def _draw(self, nodes: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Puts the samples of these nodes into the orders of these passes of theirs."""
        other = self._drawn[nodes] != numbers
        for node, number in zip(nodes[other].tolist(), numbers[other].tolist(), strict=True):
            first = self._first[node]
            self._orders[first : first + self._samples[node]] = first + self._order(node, number)
        self._drawn[nodes] = numbers

    def _batches_of(self, block: _Block) -> Tensor:
        """The samples of all steps, one batch after another."""
        result = np.empty_like(block.places)
        for ahead, (nodes, theirs) in enumerate(block.passes):
            self._draw(nodes, self.passes[nodes] + ahead)
            result[theirs] = self._orders[block.places[theirs]]
        return accelerators.send(result, self._X.device)

    def _steps(self, block: _Block) -> Tensor:
        """Trains some nodes; the sums of their losses, and their hits, [m, 2] float64."""
        first = int(block.nodes[0])
        models = self._X[first : first + len(block.nodes)] if block.together else self._X[block.rows]
        optimizer = self._memory.of_models(block.nodes.tolist(), list(models.unbind(0)))
        samples = self._batches_of(block)
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
