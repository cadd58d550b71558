"""Augmentation of training images: a random crop after padding, and a random horizontal flip.

Where a crop lies and whether it is flipped is drawn for the key (seed, "augmentation", pass of the node,
training sample): the same whatever the batch, its size, and the node that holds the image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import randomness

PADDING = 4
"""Pixels on each side that a crop may reach beyond the image."""


class Augmentation:
    """Draws and applies the changes of all nodes' images.

    Args:
        index: which training sample each image of each node is, n arrays.
        fixed: how many of each node's images, the last ones, stay as they are, [n]: those with a trigger,
            which a crop or a flip would move away from where the OOD test set has it.
        black: a black pixel in units of the inputs, [channels]: what the padding holds.
        seed: the experiment's seed.
    """

    def __init__(
        self,
        index: Sequence[NDArray[np.int64]],
        fixed: NDArray[np.int64],
        black: NDArray[np.float32],
        seed: int,
    ) -> None:
        self._index, self._fixed, self._seed = index, fixed, seed
        self._black = torch.from_numpy(black)

    def draw(self, node: int, number: int, samples: NDArray[np.int64]) -> Tensor:
        """The changes of some of a node's images in a pass: first row, first column, flipped, [k, 3].

        Args:
            node: whose images.
            number: of the node's pass.
            samples: which of them, [k].
        """
        index = self._index[node]
        axes = np.arange(3)
        uniform = randomness.uniforms(self._seed, "augmentation", number, index[samples][:, None], axes[None])
        moves = np.floor(uniform * [2 * PADDING + 1, 2 * PADDING + 1, 2]).astype(np.int64)
        moves[samples >= len(index) - self._fixed[node]] = PADDING, PADDING, 0
        return torch.from_numpy(moves)

    def apply(self, x: Tensor, moves: Tensor) -> Tensor:
        """A batch of changed images.

        Args:
            x: images, [b, channels, height, width].
            moves: theirs, from :meth:`draw`, [b, 3].
        """
        count, channels, height, width = x.shape
        self._black = self._black.to(x)
        padded = self._black.view(1, -1, 1, 1).repeat(count, 1, height + 2 * PADDING, width + 2 * PADDING)
        padded[:, :, PADDING:-PADDING, PADDING:-PADDING] = x
        top, left, flip = moves.view(count, 3, 1).unbind(1)
        along = torch.arange(width, device=x.device)
        rows = top + torch.arange(height, device=x.device)
        columns = left + torch.where(flip == 1, along.flip(0), along)
        image = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
