"""Samples as a model trains on them in a pass: gathered, changed by augmentation, with keys for dropout."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import accelerators
from dml.training.augment import Augmentation

GATHERED = 1 << 22
"""Numbers of inputs that are gathered at once, for many batches: 16 MB."""

Draw = Callable[[int, NDArray[np.int64]], Tensor]
"""(pass, samples) -> what augmentation does to them, as :meth:`dml.training.augment.Augmentation.draw`."""

Batch = tuple[Tensor, Tensor, NDArray[np.int64]]
"""Inputs [b, ...], answers [b] or [b, A], and the numbers of the samples in the training set [b]."""


class Samples:
    """The samples of one node, or of the union of all nodes.

    Args:
        x, y: inputs and answers.
        keys: the number of each sample in the training set, the key of dropout and augmentation.
        lengths: the place of the last answer of each sample that counts, plus one; None if all do.
        augmentation: how images are changed, and what is drawn for that; None without.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        keys: NDArray[np.int64],
        lengths: NDArray[np.int64] | None = None,
        augmentation: tuple[Augmentation, Draw] | None = None,
    ) -> None:
        self._x, self._y, self._keys, self._lengths = x, y, keys, lengths
        self._augmentation = augmentation
        self._a_sample = max(1, x.shape[1:].numel())

    def batches(self, number: int, samples: NDArray[np.int64], sizes: list[int]) -> Iterator[Batch]:
        """Batch after batch of a pass.

        Args:
            number: of the pass.
            samples: of all these batches, one after another.
            sizes: of the batches.
        """
        ends = np.cumsum(sizes)
        # Gathered for many batches at once, as a call for each would cost more than a small model.
        block = (ends - 1) * self._a_sample // GATHERED
        cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(sizes)]
        for first, last in itertools.pairwise(cuts):
            own = sizes[first:last]
            stop = int(ends[last - 1])
            yield from self._block(number, samples[stop - sum(own) : stop], own)

    def _block(self, number: int, samples: NDArray[np.int64], sizes: list[int]) -> Iterator[Batch]:
        order = accelerators.send(samples, self._x.device)
        x, y, keys = self._x[order], self._y[order], self._keys[samples]
        if self._augmentation:
            augmentation, draw = self._augmentation
            x = augmentation.apply(x, accelerators.send(draw(number, samples).numpy(), x.device))
        start = 0
        for xb, yb, size in zip(torch.split(x, sizes), torch.split(y, sizes), sizes, strict=True):
            stop = start + size
            if self._lengths is not None:
                longest = int(self._lengths[samples[start:stop]].max())
                xb, yb = xb[:, :longest], yb[:, :longest]
            yield xb, yb, keys[start:stop]
            start = stop
