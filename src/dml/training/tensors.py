"""Data as tensors, where the models are."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def inputs(x: NDArray[Any], like: Tensor) -> Tensor:
    """Inputs on the accelerator of ``like``: floats in its type, whole numbers (tokens) as they are."""
    tensor = torch.from_numpy(x)
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)
