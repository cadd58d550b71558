"""The models by name. A model is one file in this folder, and one line here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dml.models.spec import ModelSpec, Shape
from dml.registry import Registry

if TYPE_CHECKING:
    from torch import nn

MODELS = Registry[ModelSpec](
    "dml.models",
    {
        "mlp": "mlp:MLP",
        "mnist_mlp": "mlp:MNIST_MLP",
        "cnn": "cnn:CNN",
        "cnn_dropout": "cnn:CNN_DROPOUT",
        "vgg11": "vgg:VGG11",
        "vgg16": "vgg:VGG16",
        "resnet18": "resnet:RESNET18",
        "resnet50": "resnet:RESNET50",
        "mobilenetv2": "mobilenet:MOBILENETV2",
        "vit": "vit:VIT",
        "decoder": "decoder:DECODER",
    },
)


def build_model(
    name: str, shape: Shape, labels: int, settings: Mapping[str, Any] | None = None
) -> "nn.Module":
    """A new model; its start is drawn from torch's global generator.

    Args:
        name: a name of ``MODELS``.
        shape: of one input.
        labels: the number of classes, or of tokens: the width of the output.
        settings: the model's own options, by name; those that are left out have their defaults.
    """
    spec = MODELS[name]
    return spec.build(shape, labels, **(spec.options().model_dump() | dict(settings or {})))
