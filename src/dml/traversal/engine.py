"""The engine that trains one model, a row of X, on virtual batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dml.data.ood import NodeData
from dml.population import Population
from dml.training import backward
from dml.training.answers import Answers
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.training.request import Trained
from dml.training.tensors import computing
from dml.training.trainer import Trainer
from dml.traversal import cut
from dml.traversal.in_steps import ApartAtCutInSteps, ApartInSteps, SteppingNode
from dml.traversal.learner import Keyed, Learner
from dml.traversal.node import Node
from dml.traversal.parts import Part
from dml.traversal.plan import Visit
from dml.traversal.request import BatchesRequest
from dml.traversal.samples import Draw, Samples
from dml.traversal.steps import Steps
from dml.traversal.tally import Tally
from dml.traversal.three_phases import ApartInThreePhases, BlockNode, Blocks
from dml.traversal.visits import Apart, ApartAtCut, Together, Visits


@dataclass(frozen=True)
class Way:
    """How the gradient of a batch comes about.

    Args:
        cut: how many layers with parameters nodes compute; None for the whole model.
        apart: each node's part is computed by itself.
        labels_stay: nodes compute the loss themselves.
        three_phases: nodes compute what the published implementation has them compute.
    """

    cut: int | None = None
    apart: bool = False
    labels_stay: bool = False
    three_phases: bool = False


class UnionEngine(Trainer):
    """Trains row 0 of the population in place, any model.

    Args:
        population: the model, in one row.
        data: the training data of each node.
        training: the optimiser, and the precision.
        seed: the experiment's seed.
        keep_optimizers: the optimiser continues from round to round, and is part of a checkpoint.
        augmentation: changes training images in each pass; None without one.
        way: how gradients come about.
        slots: how many optimisers have a memory of their own.

    Raises:
        InputError: the model does not have the cut, or the blocks of the three phases, or its operations
            cannot stop at the batch norms that nodes compute.
    """

    def __init__(
        self,
        population: Population,
        data: NodeData,
        training: TrainingConfig,
        *,
        seed: int,
        keep_optimizers: bool = False,
        augmentation: Augmentation | None = None,
        way: Way = Way(),
        slots: int = 1,
    ) -> None:
        super().__init__(population, data, training, keep_optimizers, slots)
        self._data, self._augmentation, self._model = data, augmentation, training.model
        device = population.X.device
        self._context = computing("bf16", device) if training.precision == "bf16" else None
        module, parameters = population.modules[0], population.parameters(0)
        self._learner = Learner(
            module,
            parameters,
            backward.of(module, training.precision, population.X.device, self._answers),
            Keyed(module, seed),
        )
        self._short = True
        self._optimizer = self._memory.of_parameters(0, parameters, population.X[0])
        self.visits = self._visits_of(way)

    def _visits_of(self, way: Way) -> Visits:
        module, n = self._learner.module, len(self._data.y)
        halves = cut.cut(module, way.cut, self._model) if way.cut else None
        thirds = cut.blocks(module, self._model) if way.three_phases else None
        if not way.apart:
            # The mode changes what is sent, and not what is computed.
            samples = self._samples(slice(None), np.concatenate(self._data.index), self._draw)
            return Together(self._learner, samples, self._tally(n))
        by_nodes = halves[0] if halves else module
        if thirds:
            return self._in_three_phases(Blocks(*map(self._part, thirds)))
        # Rows at a cut all have the length that the messages say, whatever of them is padding.
        self._short = halves is None
        part = self._part(by_nodes)
        if cut.has_batch_norm(by_nodes):
            return self._in_steps(part, halves, way.labels_stay)
        nodes = [self._node(node, part) for node in range(n)]
        if not halves:
            return Apart(self._learner, nodes, self._totals)
        return ApartAtCut(self._learner, nodes, self._totals, *self._of_server(halves[1], way.labels_stay))

    def _of_server(self, upper: nn.Module, labels_stay: bool) -> tuple[Part, Answers, Tally | None]:
        """What the server computes at a cut, and whether it counts losses and hits."""
        return self._part(upper), self._answers, None if labels_stay else self._tally(len(self._data.y))

    def _in_steps(self, part: Part, halves: tuple[nn.Module, nn.Module] | None, labels_stay: bool) -> Visits:
        steps = Steps(part, self._model)
        nodes = [
            SteppingNode(self._samples_of(node), self._learner, steps, self._answers, self._tally(1))
            for node in range(len(self._data.y))
        ]
        if not halves:
            return ApartInSteps(self._learner, nodes, self._totals, steps)
        server = self._of_server(halves[1], labels_stay)
        return ApartAtCutInSteps(self._learner, nodes, self._totals, *server, steps)

    def _part(self, module: nn.Module) -> Part:
        parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        return Part(module, parameters, self._context)

    def _in_three_phases(self, blocks: Blocks) -> Visits:
        nodes = [
            BlockNode(self._samples_of(node), self._learner, blocks, self._answers, self._tally(1))
            for node in range(len(self._data.y))
        ]
        return ApartInThreePhases(self._learner, nodes, self._totals, blocks)

    def _node(self, node: int, part: Part) -> Node:
        return Node(self._samples_of(node), self._learner, part, self._answers, self._tally(1))

    def _samples_of(self, node: int) -> Samples:
        """Those of one node."""
        first, count = int(self._first_sample[node]), len(self._data.y[node])

        def draw(number: int, local: NDArray[np.int64]) -> Tensor:
            assert self._augmentation is not None
            return self._augmentation.draw(node, number, local)

        return self._samples(slice(first, first + count), self._data.index[node], draw)

    def _samples(self, places: slice, keys: NDArray[np.int64], draw: Draw) -> Samples:
        """Samples of the union."""
        drawn = (self._augmentation, draw) if self._augmentation else None
        lengths = self._counts.length[places] if self._counts and self._short else None
        return Samples(self._x[places], self._y[places], keys, lengths, drawn)

    def _tally(self, n: int) -> Tally:
        return Tally(n, self._answers, self._X)

    def _totals(self, request: BatchesRequest) -> list[int]:
        """How many answers of each batch count in the loss."""
        if self._counts is None:
            return [size * self._per_sample for size in request.sizes]
        plan, bounds = request.plan, request.plan.bounds[request.first : request.stop]
        counted = self._counts.loss[plan.samples[request.places]]
        totals: list[int] = np.add.reduceat(counted, bounds - bounds[0]).tolist()
        return totals

    def answers_of(self, visit: Visit) -> tuple[int, int]:
        """How many answers of a visit count in the loss, and in the accuracy."""
        if self._counts is None:
            return (len(visit.local) * self._per_sample,) * 2
        places = self.position(visit.node, visit.local)
        return int(self._counts.loss[places].sum()), int(self._counts.judged[places].sum())

    def _draw(self, number: int, samples: NDArray[np.int64]) -> Tensor:
        """What augmentation does to samples of the union."""
        assert self._augmentation is not None
        owners = np.searchsorted(self._first_sample, samples, side="right") - 1
        moves = torch.empty(len(samples), 3, dtype=torch.int64)
        for node in np.unique(owners).tolist():
            own = np.flatnonzero(owners == node)
            local = samples[own] - self._first_sample[node]
            moves[torch.from_numpy(own)] = self._augmentation.draw(node, number, local)
        return moves

    def train(self, request: BatchesRequest) -> Trained:
        """One step for each batch; losses and hits of each node's own samples."""
        if request.begins:
            self._begin(np.zeros(1, np.int64), None)
        rates: list[float] = request.rates.tolist()
        for gradients, lr in zip(self.visits.gradients(request), rates, strict=True):
            with torch.no_grad():
                self._optimizer.step(gradients, lr)
        return self._answer(request)

    def _answer(self, request: BatchesRequest) -> Trained:
        """Losses and hits since the last answer, over the samples of a request."""
        sums = self.visits.sums().cpu().numpy()
        answers, judged = self._seen(request)
        for visit in self.visits.left_out():
            fewer = self.answers_of(visit)
            answers[visit.node] -= fewer[0]
            judged[visit.node] -= fewer[1]
        with np.errstate(invalid="ignore"):
            loss, accuracy = (sums / np.stack([answers, judged])).astype(np.float32)
        return Trained(loss, accuracy, answers, judged)

    def _seen(self, request: BatchesRequest) -> tuple[NDArray[Any], NDArray[Any]]:
        """How many answers of each node's samples count in the loss, and in the accuracy, [n] both."""
        plan, n = request.plan, len(self._data.y)
        owners, samples = plan.owners[request.places], plan.samples[request.places]
        if self._counts is None:
            seen = np.bincount(owners, minlength=n) * self._per_sample
            return seen, seen.copy()
        loss, judged = (
            np.bincount(owners, counts[samples], n).astype(np.int64)
            for counts in (self._counts.loss, self._counts.judged)
        )
        return loss, judged
