"""Which answers count, in the loss and in the accuracy, and which of them are right.

Most answers are one of the model's outputs, and count in both. In sequences of tokens some do not count
(``IGNORED``), so that padding has no part in the loss; and if a label stands in the sequence
(:class:`dml.data.dataset.Choices`), it alone is judged. Engines and evaluation all count by this module.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.data.dataset import IGNORED, Choices


class Answers:
    """The answers of one data set.

    Args:
        choices: the labels that stand in the sequences; None if every answer is judged.
        device: where the answers are.
    """

    def __init__(self, choices: Choices | None = None, device: torch.device | str = "cpu") -> None:
        self._choices = choices
        self._tokens = torch.tensor(choices.tokens if choices else (), dtype=torch.long, device=device)

    def targets(self, y: Tensor) -> Tensor:
        """The output that each answer is in the loss, int64; ``IGNORED`` stays."""
        y = y.long()
        if self._choices is None:
            return y
        label = y - self._choices.first
        return torch.where(label < 0, y, self._tokens[label.clamp(min=0)])

    def classes(self, y: Tensor) -> Tensor:
        """The class of each answer, int64: its label or output; below 0 if it is not judged."""
        return y.long() if self._choices is None else y.long() - self._choices.first

    def predicted(self, logits: Tensor) -> Tensor:
        """The class that outputs, [..., V], make the most likely, [...]."""
        return (logits if self._choices is None else logits[..., self._tokens]).argmax(-1)

    def hits(self, logits: Tensor, y: Tensor) -> Tensor:
        """Which answers, [...], are judged and right, given the outputs, [..., V]."""
        return self.predicted(logits) == self.classes(y)


ALL = Answers()
"""Every answer is one of the outputs, and counts."""


@dataclass(frozen=True)
class Counts:
    """How many answers of each sample count, where samples differ in that.

    Args:
        loss: those that count in the loss, [N].
        judged: those that count in the accuracy, [N].
        length: the place of the last one that counts, plus one, [N]. As a model of sequences answers at
            each place by what comes before, what comes after it need not be computed.
    """

    loss: NDArray[np.int64]
    judged: NDArray[np.int64]
    length: NDArray[np.int64]


def counts_of(y: NDArray[Any], choices: Choices | None) -> Counts | None:
    """The counts of the answers of N samples, [N, A]; None if all of them count, in loss and accuracy."""
    there = y != IGNORED
    if choices is None and there.all():
        return None
    judged = there if choices is None else y >= choices.first
    length = np.where(there, np.arange(1, y.shape[1] + 1), 0).max(1, initial=1)
    return Counts(there.sum(1), judged.sum(1), length)
