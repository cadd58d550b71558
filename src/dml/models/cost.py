"""What a model costs: its numbers, and the operations of a forward pass, counted without computing them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dml.models.registry import build


@dataclass(frozen=True)
class Cost:
    """Of one model and one sample.

    Args:
        size: parameters and buffers, tied ones once.
        operations: of the matrix products, convolutions and attention of a forward pass; a multiplication
            and the addition after it are two.
        written: numbers that the layers of a forward pass give out. Where a layer does little with each, as
            a batch norm does, they are what takes the time, and training keeps them for the gradients.
    """

    size: int
    operations: int
    written: int


def size_of(model: nn.Module) -> int:
    """Numbers in a model: parameters and buffers, tied ones once."""
    return sum(t.numel() for t in [*model.parameters(), *model.buffers()])


@cache
def cost_of(name: str, shape: tuple[int, ...], labels: int, settings: tuple[tuple[str, Any], ...]) -> Cost:
    """The cost of a model of the registry; it is built without memory for its numbers.

    Args:
        name: of the model.
        shape: of one input; of one that is a sequence of tokens its length.
        labels: width of the output.
        settings: the flags that the model reads, with their values.
    """
    written = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal written
        written += output.numel()

    with torch.device("meta"):
        # Not in training mode: batch norm would refuse a single sample.
        model = build(name, shape, labels, dict(settings)).eval()
        sample = torch.empty((1, *shape), dtype=torch.uint8 if len(shape) == 1 else torch.float32)
    for layer in model.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(sample)
    return Cost(size_of(model), counter.get_total_flops(), written)
