"""A node that is visited: it holds its own samples, and answers what it is sent."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.training.answers import Answers
from dml.traversal import parts
from dml.traversal.learner import Learner
from dml.traversal.parts import Part
from dml.traversal.samples import Batch, Samples
from dml.traversal.tally import Tally


class Node:
    """One node.

    In one process all nodes compute with the same model, which is what the server would send to them.

    Args:
        samples: its own.
        learner: the model.
        part: what of it the node computes: its lower part, or all of it.
        answers: which answers count.
        tally: its own losses and hits.
    """

    def __init__(
        self, samples: Samples, learner: Learner, part: Part, answers: Answers, tally: Tally
    ) -> None:
        self._samples, self._learner, self._part = samples, learner, part
        self._answers, self._tally = answers, tally
        self._coming: Iterator[Batch] = iter(())

    def begin(self, number: int, local: NDArray[np.int64], sizes: list[int]) -> None:
        """What it will be asked for in a pass, visit after visit.

        Args:
            number: of the pass.
            local: which of its samples, one visit after another.
            sizes: how many in each visit.
        """
        self._number = number
        self._coming = self._samples.batches(number, local, sizes)

    @property
    def parameters(self) -> list[Tensor]:
        """Those of its part, which the server would send to it for each visit."""
        return self._part.parameters

    def _next(self) -> tuple[Tensor, Tensor]:
        self._x, self._y, self._keys = next(self._coming)
        self._learner.keyed.tell(self._number, self._keys)
        return self._x, self._y

    def seen(self) -> tuple[Tensor, Tensor]:
        """The samples of this visit, and their answers: what a report on privacy compares guesses with."""
        return self._x, self._y

    def gradients(self, total: int) -> list[Tensor]:
        """The gradient of its part of the mean loss of the batch; it is there until the next call.

        Args:
            total: how many answers of the whole batch count.
        """
        learner, (x, y) = self._learner, self._next()
        if self._part.perceptron:
            passed = parts.forward(self._part, x)
            self._tally.add(passed.output, y)
            return passed.back(parts.loss_gradient(passed.output, y, total, self._answers))
        logits, gradients = learner.backward.part(learner.module, learner.parameters, x, y, total)
        self._tally.add(logits, y)
        return gradients

    def activations(self) -> Tensor:
        """What the lower part makes of its next samples."""
        x, _ = self._next()
        self._passed = parts.forward(self._part, x)
        return self._passed.output

    def labels(self) -> Tensor:
        """The answers of these samples, if the server computes the loss."""
        return self._y

    def keys(self) -> NDArray[np.int64]:
        """The numbers of these samples in the training set, by which dropout of the upper part is drawn."""
        return self._keys

    def loss_gradient(self, logits: Tensor, total: int) -> Tensor:
        """The gradient in the logits of these samples, if the node computes the loss itself."""
        self._tally.add(logits.flatten(0, -2), self._y)
        return parts.loss_gradient(logits, self._y, total, self._answers)

    def lower_gradients(self, gradient: Tensor) -> list[Tensor]:
        """The gradients of the lower part, given that of the activations of these samples."""
        return self._passed.back(gradient)

    def sums(self) -> Tensor:
        """Losses and hits over its samples since the last call, [2] float64."""
        return self._tally.take()[:, 0]
