"""The models by name: what they take, known without torch, and how each is built."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """One model of the registry.

    Args:
        module: module under ``dml.models`` that holds the builder, imported when it is built.
        builder: function ``(input shape, labels) -> nn.Module``.
        takes: what inputs it fits, in words.
        fits: whether it fits inputs of a shape (channels, height, width).
    """

    module: str
    builder: str
    takes: str
    fits: Callable[[tuple[int, ...]], bool]


MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec("mlp", "small", "inputs of any shape", lambda shape: True),
    "mnist_mlp": ModelSpec(
        "mlp", "mnist", "inputs of 1 x 28 x 28", lambda shape: tuple(shape) == (1, 28, 28)
    ),
}


def build(name: str, shape: tuple[int, ...], labels: int) -> "nn.Module":
    """A new model with torch's default initialisation, from torch's global generator.

    Args:
        name: a name of ``MODELS``.
        shape: of one input.
        labels: number of classes, the width of the output.
    """
    spec = MODELS[name]
    builder = getattr(importlib.import_module(f"dml.models.{spec.module}"), spec.builder)
    model: nn.Module = builder(shape, labels)
    return model
