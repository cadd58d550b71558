"""The loop engine: nodes train one after another, each on its own row of the population."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dml import randomness
from dml.data.ood import NodeData
from dml.models import dropout
from dml.population import Population
from dml.training import optimizers
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.training.proximal import Proximal
from dml.training.tensors import computing, inputs

KEPT = 1 << 22
"""Logits that are kept within a pass before the hits among them are counted: 16 MB."""


class LoopEngine:
    """Trains nodes' models in place.

    Args:
        population: the models.
        data: training data a node; moved to the models' accelerator once.
        training: optimiser, batch size.
        shuffle: a new batch order in every pass, keyed by (seed, node, pass).
        seed: the experiment's seed.
        proximal: a term of the loss that draws towards the neighbours; None without one.
        augmentation: changes training images anew in each pass; None without.

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
        proximal: Proximal | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._population, self._training = population, training
        self._shuffle, self._seed = shuffle, seed
        self._proximal, self._augmentation = proximal, augmentation
        self._computing = computing(training.precision, population.X.device)
        self._x = [inputs(x, population.X) for x in data.x]
        self._y = [torch.from_numpy(y).to(population.X.device) for y in data.y]
        self._index = data.index
        self._batches = [dropout.attach(module, seed) for module in population.modules]
        self._parameters = [population.parameters(node) for node in range(len(self._x))]
        self._optimizers = [optimizers.make(p, training) for p in self._parameters]
        self.passes = np.zeros(len(self._x), np.int64)

    def begin_round(self) -> None:
        """Optimisers start afresh in every round (as published)."""
        for optimizer in self._optimizers:
            optimizer.reset()
        if self._proximal:
            self._proximal.begin_round()

    def epoch(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One pass of the given nodes over their data.

        Returns:
            The mean cross entropy and the accuracy over the answers (labels, or next tokens) of the pass,
            each taken at the step that saw the sample, [n]; NaN for a node that did not train.
        """
        loss = np.full(len(self._x), np.nan, np.float32)
        accuracy = loss.copy()
        sums = [self._pass(int(node)) for node in nodes]
        if sums:
            # Read once for all nodes: on an accelerator each reading waits for the device.
            total = torch.stack(sums).cpu().numpy()
            answers = np.array([self._y[node].numel() for node in nodes])
            loss[nodes], accuracy[nodes] = total[:, 0] / answers, total[:, 1] / answers
        self.passes[nodes] += 1
        return loss, accuracy

    def _pass(self, node: int) -> torch.Tensor:
        """Trains one node for one pass; the sum of the losses and the number of hits, [2] float64."""
        module, parameters = self._population.modules[node], self._parameters[node]
        optimizer, x, y = self._optimizers[node], self._x[node], self._y[node]
        batch, passes, index = self._batches[node], int(self.passes[node]), self._index[node]
        moves = None
        if self._augmentation:
            moves = self._augmentation.draw(node, passes).to(x.device)
        if self._shuffle:
            rng = randomness.generator(self._seed, "batch order", node, passes)
            permutation = rng.permutation(len(y))
            order = torch.from_numpy(permutation).to(x.device)
            x, y, index = x[order], y[order], index[permutation]
            moves = None if moves is None else moves[order]
        module.train()
        outputs: list[torch.Tensor] = []
        losses, hits, counted = [], [], 0
        size = self._training.batch_size
        for k, (xb, yb) in enumerate(zip(torch.split(x, size), torch.split(y, size), strict=True)):
            stop = min((k + 1) * size, len(y))
            if batch is not None:
                batch.passes, batch.samples = passes, index[k * size : stop]
            if self._augmentation and moves is not None:
                xb = self._augmentation.apply(xb, moves[k * size : stop])
            # One row an answer: of a sequence, one for each place.
            with self._computing:
                logits = module(xb).flatten(0, -2)
            logits = logits.to(self._population.X.dtype)
            loss = functional.cross_entropy(logits, yb.flatten().long())
            # The last step's gradients are dropped only now: the heap, which would shrink at once if they
            # went after the step, takes the new ones in their place.
            _drop_gradients(parameters)
            loss.backward()  # type: ignore[no-untyped-call]
            if self._proximal:
                self._proximal.add_gradient(node, parameters)
            gradients = [p.grad for p in parameters if p.grad is not None]
            if len(gradients) < len(parameters):
                raise RuntimeError("a parameter of the model takes no part in its output")
            with torch.no_grad():
                optimizer.step(gradients)
            outputs.append(logits.detach())
            losses.append(loss.detach() * len(logits))
            if stop == len(y) or len(outputs) * logits.numel() >= KEPT:
                hits.append((torch.cat(outputs).argmax(1) == y[counted:stop].flatten()).sum())
                counted, outputs = stop, []
        # One model's worth at a time, not one for each node.
        _drop_gradients(parameters)
        return torch.stack([torch.stack(losses).double().sum(), torch.stack(hits).sum().double()])


def _drop_gradients(parameters: list[torch.Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None
