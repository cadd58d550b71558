"""Data as tensors, where the models are, and the precision that they are computed in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


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
