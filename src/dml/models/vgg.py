"""VGG (Simonyan, Zisserman, arXiv 1409.1556) for small images: without and with batch norm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dml.models.spec import BATCH_NORM, DROPOUT, ModelSpec, Shape, images

if TYPE_CHECKING:
    from torch import nn

_ELEVEN = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_SIXTEEN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Configurations A and D: the channels of the convolutions between the max-pools."""


def vgg11(shape: Shape, labels: int) -> "nn.Sequential":
    """Eight 3 x 3 convolutions in five stages without batch norm, and three linear layers with dropout.

    As in the experiments of RelaySGD (Vogels et al., arXiv 2110.04175) on [3, 32, 32], where the stages end
    at side 1: dropout 0.5, 512-512, dropout 0.5, 512-512-L; 9,750,922 parameters with L = 10. The
    convolutions are initialised as in He et al. (arXiv 1502.01852, eq. 14): with torch's own initialisation
    and no batch norm, the signal would fade from layer to layer.
    """
    from torch import nn

    from dml.models.dropout import Dropout

    features = _stages(shape[0], _ELEVEN, normed=False)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    hidden = [layer for _ in range(2) for layer in (Dropout(0.5), nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden, nn.Linear(512, labels))


def vgg16(shape: Shape, labels: int) -> "nn.Sequential":
    """Thirteen 3 x 3 convolutions in five stages, each of which halves the side, and one linear layer.

    On [3, 32, 32] the stages end at side 1, and one linear layer 512-L replaces the three of the paper;
    14,728,266 parameters with L = 10, and 8,448 batch statistics.
    """
    from torch import nn

    features = _stages(shape[0], _SIXTEEN, normed=True)
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, labels))


def _stages(channels: int, stages: Sequence[Sequence[int]], *, normed: bool) -> list["nn.Module"]:
    from torch import nn

    layers: list[nn.Module] = []
    for stage in stages:
        for width in stage:
            norm = [nn.BatchNorm2d(width)] if normed else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return layers


_TAKES = "images with sides of 32 or more"

VGG11 = ModelSpec(vgg11, takes=_TAKES, fits=images(32), single=DROPOUT)
VGG16 = ModelSpec(vgg16, takes=_TAKES, fits=images(32), single=BATCH_NORM)
