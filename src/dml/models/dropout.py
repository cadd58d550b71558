"""Dropout (Srivastava et al. 2014) whose masks are keyed by sample instead of drawn from a running stream.

    y = x m / (1 - p),    m = 1 with probability 1 - p, otherwise 0, for each number of each sample

m is a hash of (seed, the layer's name, the node's pass over its data, the sample's number in the training
set), computed on the host. So a sample has the same mask in any batch, on any accelerator, with any engine,
and after a stop and resume. Two nodes never hold the same sample, so their masks differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from dml import accelerators, randomness

_STEPS = 1 << 16
"""A mask takes 16 random bits per number, so p and its scale are rounded to multiples of 2^-16."""


@dataclass
class Batch:
    """The batch that a model trains on, as its dropout layers see it.

    Args:
        seed: the experiment's seed.
        passes: the number of passes that the node has made over its data.
        samples: the numbers of the batch's samples in the training set, [b].
    """

    seed: int
    passes: int
    samples: NDArray[np.int64]


class Dropout(nn.Module):
    """A dropout layer. A model must not use one layer twice, as the layer's name is part of the key.

    Args:
        p: the share of numbers that are set to 0, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self._dropped = round(p * _STEPS)
        self._purpose = ""
        self._batch: Batch | None = None

    def attach(self, name: str, batch: Batch) -> None:
        """From now on, the masks are those of the samples that ``batch`` holds when the layer is called."""
        self._purpose, self._batch = f"dropout {name}", batch

    def forward(self, x: Tensor) -> Tensor:
        """Applies dropout in training mode; otherwise returns x.

        Args:
            x: [b, ...], one row per sample of the batch.
        """
        if not self.training or not self._dropped:
            return x
        if self._batch is None or len(self._batch.samples) != len(x):
            raise RuntimeError("dropout does not know the samples of this batch (see dml.models.dropout)")
        bits = randomness.words(
            self._batch.seed, self._purpose, self._batch.passes, self._batch.samples, x[0].numel()
        )
        mask = accelerators.send(bits >= self._dropped, x.device).view(x.shape)
        return x * mask * (_STEPS / (_STEPS - self._dropped))

    def extra_repr(self) -> str:
        """The share of dropped numbers, as torch shows it when it prints the layer."""
        return f"p={self._dropped / _STEPS:g}"


def attach(module: nn.Module) -> Batch | None:
    """Attaches all dropout layers of a model to one batch, and returns it; None if there are no such layers.

    The caller writes the seed, the pass and the samples into it before each batch.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, Dropout)]
    batch = Batch(0, 0, np.empty(0, np.int64))
    for name, layer in layers:
        layer.attach(name, batch)
    return batch if layers else None
