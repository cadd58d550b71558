"""The engine of SplitFed learning: n lower parts of a model, and one upper part at the server."""

import numpy as np
import torch
from torch import Tensor

from dml.data.ood import NodeData
from dml.population import Population
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.training.request import Trained
from dml.traversal.cut import separate
from dml.traversal.engine import UnionEngine
from dml.traversal.own_batches import in_turn
from dml.traversal.request import BatchesRequest


class SideBySideEngine(UnionEngine):
    """Trains row 0 of the population in place: the upper part, and the mean of the nodes' lower parts.

    The batches of a request are those side by side of :mod:`dml.traversal.own_batches`. A round begins with
    the lower part of the row at every node. After each request, the row has the mean of the lower parts,
    weighted by samples, also within a round.

    Args:
        population: the model, in one row.
        data: the training data of each node.
        training: the optimiser, and the precision.
        k: the cut: how many layers with parameters the lower part has.
        seed: the experiment's seed.
        keep_optimizers: the optimisers continue from round to round, and are part of a checkpoint.
        augmentation: changes training images in each pass; None without one.

    Raises:
        InputError: the model does not have the cut.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        k: int,
        *,
        seed: int,
        keep_optimizers: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        n = len(data.y)
        super().__init__(
            population,
            data,
            training,
            seed=seed,
            keep_optimizers=keep_optimizers,
            augmentation=augmentation,
            slots=n + 1,
        )
        self._seed, self._n = seed, n
        module, _ = separate(population.modules[0], k, training.model)
        own = {id(p) for p in module.parameters()}
        parameters = population.parameters(0)
        self._below = [place for place, p in enumerate(parameters) if id(p) in own]
        self._above = [place for place, p in enumerate(parameters) if id(p) not in own]
        lower, upper = ([parameters[place] for place in places] for places in (self._below, self._above))
        self._lower_optimizers = [self._memory.of_parameters(i, lower, population.X[0]) for i in range(n)]
        self._upper_optimizer = self._memory.of_parameters(n, upper, population.X[0])
        # The row holds the lower part of the node whose turn it is.
        buffers = [b for b in module.buffers() if b.is_floating_point()]
        self._there: list[Tensor] = [p.detach() for p in lower] + buffers
        self._parts = [[torch.empty_like(t) for t in self._there] for _ in range(n)]
        self._weights: list[float] = (data.samples / data.samples.sum()).tolist()

    def train(self, request: BatchesRequest) -> Trained:
        """One step of a node's lower part and of the upper part for each batch of a node."""
        if request.begins:
            self._begin(np.arange(self._n + 1), None)
            for part in self._parts:
                torch._foreach_copy_(part, self._there)
        turns = in_turn(request.plan, self._seed)
        first, stop = turns.bounds[[request.first, request.stop]].tolist()
        steps = np.diff(turns.bounds[request.first : request.stop + 1])
        rates = np.repeat(request.rates, steps)
        self._take(BatchesRequest(turns.plan, first, stop, rates), turns.nodes[first:stop].tolist())
        with torch.no_grad():
            self._average()
        return self._answer(request)

    def _take(self, request: BatchesRequest, nodes: list[int]) -> None:
        """The batches of nodes, one after another.

        Args:
            request: batches of one node each.
            nodes: the node of each of them.
        """
        rates: list[float] = request.rates.tolist()
        torch._foreach_copy_(self._there, self._parts[nodes[0]])
        for k, gradients in enumerate(self.visits.gradients(request)):
            with torch.no_grad():
                for optimizer, places in (
                    (self._lower_optimizers[nodes[k]], self._below),
                    (self._upper_optimizer, self._above),
                ):
                    optimizer.step([gradients[place] for place in places], rates[k])
            # The next gradient is computed when it is asked for, with the lower part of its own node.
            torch._foreach_copy_(self._parts[nodes[k]], self._there)
            if k + 1 < len(nodes):
                torch._foreach_copy_(self._there, self._parts[nodes[k + 1]])

    def _average(self) -> None:
        """The row gets the mean of the lower parts, weighted by samples."""
        for place, mean in enumerate(self._there):
            mean.zero_()
            for weight, part in zip(self._weights, self._parts, strict=True):
                mean.add_(part[place], alpha=weight)
