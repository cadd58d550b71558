"""MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2), with the strides for small images.

A block widens c channels to t c (1 x 1), filters each channel by itself (3 x 3, depthwise, with the stride)
and narrows to c' without an activation (1 x 1); x is added if the stride is 1 and c = c'. The other
activations are ReLU6, and every convolution is followed by batch norm (:mod:`dml.models.residual`).
"""

from typing import TYPE_CHECKING

from dml.models.spec import BATCH_NORM, ModelSpec, Shape, images

if TYPE_CHECKING:
    from torch import nn

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion t, channels c, number of blocks, and stride of the first block. For images of side 224 the paper
has stride 2 in the stem and in the stage of 24 channels; here both are 1, so a side of 32 ends as 4."""


def mobilenetv2(shape: Shape, labels: int) -> "nn.Sequential":
    """MobileNetV2 with width multiplier 1; 2,236,682 parameters on 3 channels with L = 10."""
    from torch import nn

    from dml.models.residual import InvertedResidual, convolution

    layers: list[nn.Module] = [*convolution(shape[0], 32, 3), nn.ReLU6()]
    channels = 32
    for expansion, width, blocks, stride in _STAGES:
        for number in range(blocks):
            layers.append(InvertedResidual(channels, width, expansion, 1 if number else stride))
            channels = width
    layers += [*convolution(channels, 1280, 1), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, labels))


# With smaller sides, batch norm would see a single number per channel if a last batch has one sample.
MOBILENETV2 = ModelSpec(
    mobilenetv2, takes="images with sides of 16 or more", fits=images(16), single=BATCH_NORM
)
