"""The cost of a model: its size and the operations of a forward pass, counted without computing them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dml.models.registry import build_model


@dataclass(frozen=True)
class Cost:
    """The cost of one model for one sample.

    Args:
        size: the count of numbers that each node has of its own: trained parameters and buffers; tied ones
            count once.
        operations: the operations in the matrix products, convolutions and attention of a forward pass; a
            multiplication and the addition that follows count as two.
        written: the count of numbers in the outputs of all layers of a forward pass. Writing them takes most
            of the time of layers that do little per number, such as batch norm; training keeps them for the
            gradients.
        frozen: the count of numbers in the frozen parameters, which all nodes share.
    """

    size: int
    operations: int
    written: int
    frozen: int = 0


def size_of(model: nn.Module) -> int:
    """The count of numbers in a model's trained parameters and buffers; tied ones count once."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return sum(t.numel() for t in [*trained, *model.buffers()])


def frozen_of(model: nn.Module) -> int:
    """The count of numbers in a model's frozen parameters, which all nodes share."""
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)


@cache
def cost_of(name: str, shape: tuple[int, ...], labels: int, settings: tuple[tuple[str, Any], ...]) -> Cost:
    """The cost of a model of the registry. The model is built without memory for its parameters.

    Args:
        name: a name of :data:`dml.models.registry.MODELS`.
        shape: the shape of one input: (channels, height, width) of an image, (length,) of a token sequence.
        labels: the width of the output.
        settings: the model's own options and their values.
    """
    written = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal written
        written += output.numel()

    with torch.device("meta"):
        # In training mode batch norm would refuse a single sample.
        model = build_model(name, shape, labels, dict(settings)).eval()
        sample = torch.empty((1, *shape), dtype=torch.uint8 if len(shape) == 1 else torch.float32)
    for layer in model.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(sample)
    return Cost(size_of(model), counter.get_total_flops(), written, frozen_of(model))
