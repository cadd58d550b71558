"""The models by name: what they take, known without torch, and how each is built."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """One model of the registry.

    Args:
        module: module under ``dml.models`` that holds the builder, imported when it is built.
        builder: function ``(input shape, labels, **settings) -> nn.Module``.
        takes: what inputs it fits, in words.
        fits: whether it fits inputs of a shape: images are (channels, height, width), sequences of
            tokens (length,).
        reads: flags of :class:`~dml.training.config.TrainingConfig` that this model reads: its settings.
        single: what it has that only a model that trains by itself can have, or "".
    """

    module: str
    builder: str
    takes: str
    fits: Callable[[tuple[int, ...]], bool]
    reads: frozenset[str] = frozenset()
    single: str = ""
    version: int = 1


def _images(side: int, multiple: int = 1) -> Callable[[tuple[int, ...]], bool]:
    """Whether a shape is that of images with sides of at least so much, and multiples of a number."""
    return lambda shape: (
        len(shape) == 3 and min(shape[1:]) >= side and not any(s % multiple for s in shape[1:])
    )


_BATCH_NORM = "batch norm"

MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec("mlp", "small", "images of any shape", _images(1)),
    "mnist_mlp": ModelSpec(
        "mlp", "mnist", "images of 1 x 28 x 28", lambda shape: tuple(shape) == (1, 28, 28)
    ),
    "cnn": ModelSpec("cnn", "six", "images with sides of 8 or more", _images(8)),
    "cnn_dropout": ModelSpec(
        "cnn", "four_with_dropout", "images with sides of 4 or more", _images(4), single="dropout"
    ),
    "vgg11": ModelSpec("vgg", "vgg11", "images with sides of 32 or more", _images(32), single="dropout"),
    "vgg16": ModelSpec("vgg", "vgg16", "images with sides of 32 or more", _images(32), single=_BATCH_NORM),
    # With sides below 16 batch norm would have one number a channel in a last batch of one sample.
    "resnet18": ModelSpec(
        "resnet", "resnet18", "images with sides of 16 or more", _images(16), single=_BATCH_NORM
    ),
    "resnet50": ModelSpec(
        "resnet", "resnet50", "images with sides of 16 or more", _images(16), single=_BATCH_NORM
    ),
    "mobilenetv2": ModelSpec(
        "mobilenet", "mobilenetv2", "images with sides of 16 or more", _images(16), single=_BATCH_NORM
    ),
    "vit": ModelSpec("vit", "vit", "images with sides that are multiples of 4", _images(4, 4)),
    "decoder": ModelSpec(
        "decoder", "decoder", "sequences of tokens", lambda shape: len(shape) == 1, frozenset({"n_layer"})
    ),
}


def build(
    name: str, shape: tuple[int, ...], labels: int, settings: Mapping[str, Any] | None = None
) -> "nn.Module":
    """A new model, its start drawn from torch's global generator.

    Args:
        name: a name of ``MODELS``.
        shape: of one input.
        labels: number of classes, or of tokens: the width of the output.
        settings: the flags that the model reads, by name.
    """
    spec = MODELS[name]
    builder = getattr(importlib.import_module(f"dml.models.{spec.module}"), spec.builder)
    model: nn.Module = builder(shape, labels, **(settings or {}))
    return model
