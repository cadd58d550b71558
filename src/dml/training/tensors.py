"""Data as tensors, where the models are, and the precision and memory format that they are computed in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def inputs(x: NDArray[Any], like: Tensor) -> Tensor:
    """Inputs on the accelerator of ``like``: floats in its type, whole numbers (tokens) as they are."""
    tensor = torch.from_numpy(x)
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)


def computing(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass; it can be entered again and again.

    Args:
        precision: ``fp32``, or ``bf16``: matrix products and convolutions, forwards and backwards, of inputs
            rounded to bfloat16. Parameters, gradients of parameters, losses and optimisers stay in fp32.
        device: what it computes on.
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def arranging(module: nn.Module, precision: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What arranges a batch in memory as a model computes it fastest; its numbers stay as they are.

    Convolutions in bf16 on a CPU take the channels of a pixel side by side, and so do all layers behind the
    first of them. In fp32 nothing is arranged, as results would differ in their last bits from earlier ones.
    """
    convolves = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    return _channels_last if convolves and precision == "bf16" and device.type == "cpu" else lambda x: x


def _channels_last(x: Tensor) -> Tensor:
    _, channels, height, width = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    # Images of one channel lie alike in both formats, and torch would go by their strides.
    return x.as_strided(x.shape, (channels * height * width, 1, width * channels, channels))
