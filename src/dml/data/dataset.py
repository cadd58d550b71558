"""A data set before it is loaded (its description) and afterwards (its arrays)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSIFICATION, NEXT_TOKEN = "classification", "next token"
"""What a model is asked about a sample: its label, or at every position the token that follows."""

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, of each channel or one for all."""

Trigger = Callable[[NDArray[Any]], tuple[NDArray[np.bool_], NDArray[Any]]]


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as it is known before it is loaded.

    Args:
        shape: of one input: (channels, height, width) of an image, (length,) of a sequence of tokens.
        labels: the number of kinds of samples, by which they are dealt out to the nodes.
        sizes: the numbers of training and test samples.
        tokens: the number of different tokens, if the model predicts the next one; 0 for images.
        fingerprint: a hash of the content, if the name does not determine it.
    """

    shape: tuple[int, ...]
    labels: int
    sizes: tuple[int, int]
    tokens: int = 0
    fingerprint: str | None = None

    @property
    def task(self) -> str:
        """What a model is asked about a sample."""
        return NEXT_TOKEN if self.tokens else CLASSIFICATION

    @property
    def classes(self) -> int:
        """The number of answers that a model chooses from: its outputs."""
        return self.tokens or self.labels


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Args:
        train_x, test_x: images as float32 inputs or as uint8 pixels, which may be mapped from a file,
            [N, channels, height, width]; sequences of tokens as uint8, [N, T].
        train_y, test_y: int64 labels, [N].
        labels: the number of labels L; they are 0 to L - 1.
        task: what a model is asked about a sample.
        scale: turns pixels in [0, 1] into inputs; None if the images are inputs already.
        trigger: how sequences of tokens get the trigger: (sequences [k, T]) -> which of them can carry it,
            [k], and only these, with it. None for images, which get a patch (:mod:`dml.data.trigger`).

    Raises:
        ValueError: there are sequences of tokens, and no trigger.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    labels: int
    task: str = CLASSIFICATION
    scale: Scale | None = None
    trigger: Trigger | None = None

    def __post_init__(self) -> None:
        if self.task == NEXT_TOKEN and self.trigger is None:
            raise ValueError("a data set of sequences of tokens must say how they get the trigger")

    def train(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the training inputs: images as float32, [k, channels, height, width], or tokens, [k, T]."""
        return self._inputs(self.train_x[samples])

    def test(self, samples: NDArray[np.int64]) -> NDArray[Any]:
        """Some of the test inputs: images as float32, [k, channels, height, width], or tokens, [k, T]."""
        return self._inputs(self.test_x[samples])

    def ask(self, inputs: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """What a model sees and what it should answer.

        Args:
            inputs: [k, ...].
            labels: [k].

        Returns:
            Inputs and labels as they are; of tokens the first T - 1 and the last T - 1, [k, T - 1] both.
        """
        return (inputs[:, :-1], inputs[:, 1:]) if self.task == NEXT_TOKEN else (inputs, labels)

    @property
    def black(self) -> NDArray[np.float32]:
        """A pixel of value 0 as an input, [channels]."""
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
