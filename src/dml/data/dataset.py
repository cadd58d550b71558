"""A data set before it is loaded (its description) and afterwards (its arrays)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSIFICATION, NEXT_TOKEN = "classification", "next token"
"""The task of a model: the label of a sample, or the next token at every position."""

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations: one per channel, or one for all channels."""

Trigger = Callable[[NDArray[Any]], tuple[NDArray[np.bool_], NDArray[Any]]]

IGNORED = -100
"""An answer that does not count, such as those behind the end of a sequence; torch has the same number."""


@dataclass(frozen=True)
class Choices:
    """Labels that stand in sequences of tokens, and are what accuracy is about.

    Where a sequence has its label, the answer ``first + c`` stands for the label c. In the loss it is the
    token ``tokens[c]``, among all tokens; it is right if that is the most likely one of ``tokens``. All
    other answers are tokens, and count in the loss alone.

    Args:
        first: the answer that stands for label 0; at least the number of tokens.
        tokens: the token of each label, [L], all different.
    """

    first: int
    tokens: tuple[int, ...]

    def as_tokens(self, answers: NDArray[Any]) -> NDArray[Any]:
        """The tokens that a model reads, in the type of the answers; token 0 for those that do not count."""
        label = answers - self.first
        tokens = np.array(self.tokens, answers.dtype)[np.maximum(label, 0)]
        result: NDArray[Any] = np.where(label < 0, np.maximum(answers, 0), tokens)
        return result


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as it is known before it is loaded.

    Args:
        shape: the shape of one input: (channels, height, width) of an image, (length,) of a token sequence.
        labels: the number of kinds of samples, by which they are dealt out to the nodes.
        sizes: the numbers of training and test samples.
        tokens: the number of different tokens, if the model predicts the next one; 0 for images.
        choices: the number of labels that stand in the sequences (:class:`Choices`); 0 without such.
        fingerprint: a hash of the content, if the name does not determine it.
        marks: by the name of an option that names files, a hash of their content, which takes the place of
            its value in the experiment's id.
    """

    shape: tuple[int, ...]
    labels: int
    sizes: tuple[int, int]
    tokens: int = 0
    choices: int = 0
    fingerprint: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task of a model: ``CLASSIFICATION`` or ``NEXT_TOKEN``."""
        return NEXT_TOKEN if self.tokens else CLASSIFICATION

    @property
    def classes(self) -> int:
        """The number of answers that a model chooses from, which is the width of its output."""
        return self.tokens or self.labels

    @property
    def judged(self) -> int:
        """The number of classes that hits are counted for: labels, or tokens."""
        return self.choices or self.classes


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Args:
        train_x, test_x: images as float32 inputs or as uint8 pixels, which may be mapped from a file,
            [N, channels, height, width]; sequences of tokens as integers, [N, T]. With ``choices`` they are
            the answers that the tokens are, ``IGNORED`` behind the end.
        train_y, test_y: int64 labels, [N].
        labels: the number of labels L; they are 0 to L - 1.
        task: the task of a model: ``CLASSIFICATION`` or ``NEXT_TOKEN``.
        scale: turns pixels in [0, 1] into inputs; None if the images are inputs already.
        trigger: adds the trigger to sequences of tokens: (sequences [k, T]) -> (which of them can carry it,
            [k]; these sequences with the trigger). None for images, which get a patch
            (:mod:`dml.data.trigger`).
        choices: the labels that stand in the sequences; None without such.

    Raises:
        ValueError: the samples are sequences of tokens, and there is no trigger.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    labels: int
    task: str = CLASSIFICATION
    scale: Scale | None = None
    trigger: Trigger | None = None
    choices: Choices | None = None

    def __post_init__(self) -> None:
        if self.task == NEXT_TOKEN and self.trigger is None:
            raise ValueError("a data set of sequences of tokens needs a trigger")

    def train(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the training inputs: images as float32, [k, channels, height, width], or tokens, [k, T]."""
        return self._inputs(self.train_x[samples])

    def test(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the test inputs: images as float32, [k, channels, height, width], or tokens, [k, T]."""
        return self._inputs(self.test_x[samples])

    def ask(self, inputs: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The inputs that a model sees and the answers that it should give.

        Args:
            inputs: [k, ...].
            labels: [k].

        Returns:
            For images, inputs and labels unchanged; for sequences, the first T - 1 tokens and the last T - 1
            tokens, both [k, T - 1].
        """
        if self.task != NEXT_TOKEN:
            return inputs, labels
        seen, answers = inputs[:, :-1], inputs[:, 1:]
        return (self.choices.as_tokens(seen) if self.choices else seen), answers

    @property
    def black(self) -> NDArray[np.float32]:
        """The input that a pixel of value 0 becomes, [channels]."""
        pixel = np.zeros((1, self.train_x.shape[1], 1, 1), self.train_x.dtype)
        result: NDArray[np.float32] = self._inputs(pixel)[0, :, 0, 0]
        return result

    def _inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """(x / 255 - mean) / std per channel."""
        if self.scale is None:
            return x
        mean, std = (np.array(values, np.float32)[:, None, None] for values in self.scale)
        result = x.astype(np.float32)
        result /= 255
        if mean.any() or (std != 1).any():
            result -= mean
            result /= std
        return result
