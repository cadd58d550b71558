"""Batch norm (Ioffe and Szegedy, arXiv 1502.03167) over a batch whose rows are spread over nodes.

Node i has n_i numbers x of a channel, and N = sum_i n_i. The statistics are those of all N numbers:

    1. n_i,  s_i = sum x,  q_i = sum (x - s_i / n_i)^2                          node i sends them
    2. m = 1/N sum_i s_i,  v = 1/N sum_i (q_i + n_i (s_i / n_i - m)^2)          the orchestrator returns them
    3. z = (x - m) / sqrt(v + eps),  y = weight z + bias                        node i
    4. with d = dL/dy:  sum d,  sum d z                                         node i sends them
    5. a = 1/N sum_i sum d,  b = 1/N sum_i sum d z                              the orchestrator returns them
    6. dL/dx = weight / sqrt(v + eps) (d - a - b z)                             node i

The sums of 4 are also what the node's rows add to the gradients of bias and weight. Deviations are taken from
a mean, so that no digits are lost where the mean is large. A node computes with its own rows and with what it
is sent; the orchestrator adds in the order of the nodes, and keeps the running statistics.
"""

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNorm = _BatchNorm
"""Of any number of dimensions."""


def is_batch_norm(layer: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether a layer takes statistics over the batch that it sees."""
    return isinstance(layer, BatchNorm)


def statistics(x: Tensor) -> Tensor:
    """What a node sends of the input of a batch norm: n_i, and s_i and q_i of each channel, [2 C + 1].

    Args:
        x: the node's rows, [n, C, ...].
    """
    x = _widened(x)
    own = _by_channel(x)
    sums = own.sum(1)
    count = torch.full_like(sums[:1], own.shape[1])
    return torch.cat([count, sums, (own - (sums / own.shape[1])[:, None]).square().sum(1)])


def of_all(sent: Sequence[Tensor]) -> tuple[int, Tensor]:
    """The numbers of a channel in the whole batch, and the mean and the variance of each channel, [2, C].

    Args:
        sent: the statistics of the nodes, in their order.

    Raises:
        ValueError: a channel has a single number, which has no variance.
    """
    counts = [int(part[0]) for part in sent]
    total, channels = sum(counts), len(sent[0]) // 2
    if total < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got {total}")
    sums = [part[1 : 1 + channels] for part in sent]
    mean = _sum(sums) / total
    squares = [
        part[1 + channels :] + count * (own / count - mean).square()
        for part, own, count in zip(sent, sums, counts, strict=True)
    ]
    return total, torch.stack([mean, _sum(squares) / total])


def means(sent: Sequence[Tensor], total: int) -> Tensor:
    """The means of d and of d z over the whole batch, [2, C], from the sums of the nodes in their order."""
    return _sum(sent) / total


@torch.no_grad()
def track(layer: BatchNorm, total: int, found: Tensor) -> None:
    """Moves the running statistics of a layer, as the layer does itself if it sees the whole batch.

    Args:
        layer: the layer; it may have no running statistics.
        total: the numbers of a channel.
        found: their mean and variance, [2, C].
    """
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked.add_(1)
    share = 1 / int(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(found[0], share)
    # Tracked is the variance without bias.
    layer.running_var.lerp_(found[1] * (total / (total - 1)), share)


class Normed:
    """A batch norm on the rows of one node.

    Args:
        layer: the layer.
        x: the rows, [n, C, ...].
        found: mean and variance over the whole batch, [2, C].

    Attributes:
        output: the rows behind the layer.
        gradients: what these rows add to the gradients of weight and bias, [2, C]; once sums are taken.
    """

    gradients: Tensor

    def __init__(self, layer: BatchNorm, x: Tensor, found: Tensor) -> None:
        self._shape = (1, -1, *[1] * (x.dim() - 2))
        self._type, self._weight = x.dtype, layer.weight
        self._inverse = self._spread((found[1] + layer.eps).rsqrt())
        self._z = (_widened(x) - self._spread(found[0])) * self._inverse
        y = self._z
        if layer.affine:
            y = y * self._spread(layer.weight.detach()) + self._spread(layer.bias.detach())
        self.output = y.to(self._type)

    def sums(self, d: Tensor) -> Tensor:
        """What the node sends on the way back: the sums of d and of d z of each channel, [2, C].

        Args:
            d: the gradient of the loss in the output.
        """
        self._d = _widened(d)
        sent = torch.stack([_by_channel(self._d).sum(1), _by_channel(self._d * self._z).sum(1)])
        self.gradients = sent.flip(0)
        return sent

    def back(self, found: Tensor) -> Tensor:
        """The gradient in the input.

        Args:
            found: the means of d and of d z over the whole batch, [2, C].
        """
        d = (self._d - self._spread(found[0]) - self._z * self._spread(found[1])) * self._inverse
        if self._weight is not None:
            d = d * self._spread(self._weight.detach())
        return d.to(self._type)

    def _spread(self, of_channels: Tensor) -> Tensor:
        return of_channels.view(self._shape)


def _by_channel(x: Tensor) -> Tensor:
    """[n, C, ...] -> [C, numbers]."""
    return x.transpose(0, 1).flatten(1)


def _widened(x: Tensor) -> Tensor:
    """Statistics of bfloat16 are taken in float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
