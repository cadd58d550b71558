"""The loop engine: nodes train one after another, each on its own row of the population."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import accelerators
from dml.data.ood import NodeData
from dml.models import dropout
from dml.population import Population
from dml.training import backward
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.training.proximal import Proximal
from dml.training.tensors import inputs
from dml.training.trainer import Trainer

KEPT = 1 << 22
"""Logits that are kept within a pass before the hits among them are counted: 16 MB."""


class LoopEngine(Trainer):
    """Trains nodes' models in place.

    Args:
        population: the models.
        data: training data a node; moved to the models' accelerator once.
        training: optimiser, batch size.
        shuffle: a new batch order in every pass, keyed by (seed, node, pass).
        seed: the experiment's seed.
        proximal: a term of the loss that draws towards the neighbours; None without one.
        augmentation: changes training images anew in each pass; None without.
        keep_optimizers: optimisers go on from round to round, and are part of a checkpoint.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        shuffle: bool,
        seed: int,
        proximal: Proximal | None = None,
        augmentation: Augmentation | None = None,
        keep_optimizers: bool = False,
    ) -> None:
        super().__init__(population, data, training, shuffle, seed, keep_optimizers)
        self._modules = population.modules
        self._proximal, self._augmentation = proximal, augmentation
        self._backward = backward.of(population.modules[0], training.precision, population.X.device)
        self._x = [inputs(x, population.X) for x in data.x]
        self._y = [torch.from_numpy(y).to(population.X.device) for y in data.y]
        self._index = data.index
        self._dropout = [dropout.attach(module, seed) for module in population.modules]
        self._parameters = [population.parameters(node) for node in range(len(self._x))]
        self._optimizers = [self._memory.of_node(node, p) for node, p in enumerate(self._parameters)]
        self._unfinished: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def begin_round(self, momentum: Tensor | None = None) -> None:
        """As of any engine; the proximal term draws to the neighbours' models of now."""
        super().begin_round(momentum)
        if self._proximal:
            self._proximal.begin_round()

    def _sums(self, nodes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = [self._steps(*pair) for pair in zip(nodes.tolist(), counts.tolist(), strict=True)]
        # Read once for all nodes: on an accelerator each reading waits for the device.
        total: NDArray[np.float64] = torch.stack(sums).cpu().numpy()
        return total

    def _steps(self, node: int, count: int) -> Tensor:
        """Trains one node; the sum of the losses and the number of hits, [2] float64."""
        number, first, batches = int(self.passes[node]), int(self.taken[node]), int(self.batches[node])
        sums = []
        while count:
            stop = min(first + count, batches)
            order = self._current_order(node, number, stop < batches)
            sums.append(self._within_pass(node, number, order[first * self._size : stop * self._size]))
            number, first, count = number + 1, 0, count - (stop - first)
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)

    def _current_order(self, node: int, number: int, goes_on: bool) -> NDArray[np.int64]:
        """The order of a node's samples in a pass, kept for its next steps if the pass goes on."""
        kept = self._unfinished.pop(node, None)
        order = kept[1] if kept and kept[0] == number else self._order(node, number)
        if goes_on:
            self._unfinished[node] = number, order
        return order

    def _within_pass(self, node: int, number: int, samples: NDArray[np.int64]) -> Tensor:
        """Trains one node on some of its samples, in this order; losses and hits as of :meth:`_steps`."""
        module, parameters, optimizer = self._modules[node], self._parameters[node], self._optimizers[node]
        batch, x, y, index = self._dropout[node], self._x[node], self._y[node], self._index[node][samples]
        moves = None
        if self._augmentation:
            moves = accelerators.send(self._augmentation.draw(node, number, samples).numpy(), x.device)
        if self._shuffle or len(samples) < len(y):
            order = accelerators.send(samples, x.device)
            x, y = x[order], y[order]
        module.train()
        outputs: list[Tensor] = []
        losses, hits, counted = [], [], 0
        size = self._size
        for k, (xb, yb) in enumerate(zip(torch.split(x, size), torch.split(y, size), strict=True)):
            stop = min((k + 1) * size, len(y))
            if batch is not None:
                batch.passes, batch.samples = number, index[k * size : stop]
            if self._augmentation and moves is not None:
                xb = self._augmentation.apply(xb, moves[k * size : stop])
            logits, loss, gradients = self._backward(module, parameters, xb, yb)
            if self._proximal:
                self._proximal.add_gradient(node, parameters, gradients)
            with torch.no_grad():
                optimizer.step(gradients)
            outputs.append(logits)
            losses.append(loss * len(logits))
            if stop == len(y) or len(outputs) * logits.numel() >= KEPT:
                hits.append((torch.cat(outputs).argmax(1) == y[counted:stop].flatten()).sum())
                counted, outputs = stop, []
        self._backward.release(parameters)
        return torch.stack([torch.stack(losses).double().sum(), torch.stack(hits).sum().double()])
