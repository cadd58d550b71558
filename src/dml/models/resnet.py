"""Residual networks (He et al., arXiv 1512.03385), with the stem for small images.

A block is x <- relu(F(x) + S(x)), with option B of the paper for S (:mod:`dml.models.residual`). There are
four stages of blocks, of widths 64, 128, 256 and 512; all but the first begin with stride 2. The stem is one
3 x 3 convolution of stride 1 without a max-pool, as is usual for images of side 32: ImageNet's stem, a 7 x 7
convolution of stride 2 and a max-pool, would shrink them too much.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dml.models.spec import BATCH_NORM, ModelSpec, Shape, images

if TYPE_CHECKING:
    from torch import nn

_WIDTHS = (64, 128, 256, 512)


def resnet18(shape: Shape, labels: int) -> "nn.Sequential":
    """ResNet-18: two basic blocks per stage; 11,173,962 parameters on 3 channels with L = 10."""
    from dml.models.residual import basic_block

    return _resnet(shape[0], labels, basic_block, 1, (2, 2, 2, 2))


def resnet50(shape: Shape, labels: int) -> "nn.Sequential":
    """ResNet-50: 3, 4, 6 and 3 bottleneck blocks; 23,520,842 parameters on 3 channels with L = 10."""
    from dml.models.residual import bottleneck_block

    return _resnet(shape[0], labels, bottleneck_block, 4, (3, 4, 6, 3))


def _resnet(
    inputs: int,
    labels: int,
    block: Callable[[int, int, int], "nn.Module"],
    expansion: int,
    blocks: Sequence[int],
) -> "nn.Sequential":
    """A network of the stem, the stages, the mean over the image and a linear layer.

    Args:
        inputs: the channels of the images.
        labels: the number of outputs.
        block: makes a block: (channels, width, stride) -> a block with ``expansion`` x width output channels.
        expansion: the ratio of a block's output channels to its width.
        blocks: the number of blocks of each stage.
    """
    from torch import nn

    from dml.models.residual import convolution

    stages: list[nn.Module] = []
    channels = 64
    for stage, (width, count) in enumerate(zip(_WIDTHS, blocks, strict=True)):
        for number in range(count):
            stages.append(block(channels, width, 2 if stage and not number else 1))
            channels = expansion * width
    stem = [*convolution(inputs, 64, 3), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, labels)]
    return nn.Sequential(*stem, *stages, *head)


# With smaller sides, batch norm would see a single number per channel if a last batch has one sample.
_TAKES, _FITS = "images with sides of 16 or more", images(16)

RESNET18 = ModelSpec(resnet18, takes=_TAKES, fits=_FITS, single=BATCH_NORM)
RESNET50 = ModelSpec(resnet50, takes=_TAKES, fits=_FITS, single=BATCH_NORM)
