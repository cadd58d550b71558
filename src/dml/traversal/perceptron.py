"""Perceptrons and parts of them, whose gradients are written out here, without autograd's own work.

With h the input of a linear layer, and d the gradient of its output before the ReLU, if there is one,

    dW = d^T h;    db = sum of the rows of d;    of the layer below, d W, where its output is above 0

They are written into one vector, which is added to that of another node in one call. In visits of small
models, calls cost more than arithmetic.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dml.training import kernels


class Gradients(list[Tensor]):
    """The gradients of some parameters, views into one vector.

    Args:
        like: the parameters.

    Attributes:
        vector: all gradients, one behind another, [p].
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in like]
        self.vector = like[0].detach().new_empty(sum(sizes))
        parts = torch.split(self.vector, sizes)
        super().__init__(part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True))


@dataclass(frozen=True, eq=False)
class Block:
    """A linear layer, perhaps with a ReLU.

    Args:
        weight: detached, so that it has no part in a graph of autograd; [outputs, inputs].
        transposed: a view of it, [inputs, outputs].
        bias: detached.
        masked: whether a ReLU ends the block.
    """

    weight: Tensor
    transposed: Tensor
    bias: Tensor
    masked: bool


class Perceptron:
    """Linear layers, each perhaps with a ReLU.

    Args:
        layers: those of the model; a first one that flattens the input may be among them.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        blocks: list[Block] = []
        for layer in layers:
            if isinstance(layer, nn.Linear):
                weight = layer.weight.detach()
                blocks.append(Block(weight, weight.t(), layer.bias.detach(), False))
            elif isinstance(layer, nn.ReLU):
                last = blocks.pop()
                blocks.append(Block(last.weight, last.transposed, last.bias, True))
        self.blocks = blocks
        self._gradients: Gradients | None = None

    @property
    def gradients(self) -> Gradients:
        """Where gradients are written, the same at every call."""
        if self._gradients is None:
            self._gradients = Gradients([own for block in self.blocks for own in (block.weight, block.bias)])
        return self._gradients


class PassedPerceptron:
    """What a perceptron has made of its input, and the way back.

    Args:
        perceptron: the perceptron.
        x: the input, [b, ...].

    Attributes:
        output: what it has made of it, [b, outputs].
    """

    def __init__(self, perceptron: Perceptron, x: Tensor) -> None:
        self._perceptron, self._shape = perceptron, x.shape
        self._seen: list[Tensor] = []
        h = x if x.dim() == 2 else x.flatten(1)
        for block in perceptron.blocks:
            self._seen.append(h)
            h = torch.addmm(block.bias, h, block.transposed)
            if block.masked:
                h.relu_()
        self.output = h

    def back(self, gradient: Tensor, *, to_input: bool = False) -> list[Tensor]:
        """The gradients of all weights and biases; they are there until the next call for this perceptron.

        Args:
            gradient: of the loss in the output.
            to_input: whether the gradient of the input is asked for, too; it comes last.
        """
        d, found, outputs = gradient, self._perceptron.gradients, self.output
        for k in range(len(self._seen) - 1, -1, -1):
            block, h = self._perceptron.blocks[k], self._seen[k]
            if block.masked:
                d = kernels.relu_backward(d, outputs)
            torch.mm(d.t(), h, out=found[2 * k])
            torch.sum(d, 0, out=found[2 * k + 1])
            if k or to_input:
                d = d.mm(block.weight)
            outputs = h
        return [*found, d.view(self._shape)] if to_input else found
