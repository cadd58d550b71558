"""Residual networks (He et al., arXiv 1512.03385), with the stem for small images.

A block is x <- relu(F(x) + S(x)): F its convolutions, each with batch norm; S the identity, or a 1 x 1
convolution with batch norm where F changes the shape (option B of the paper). Four stages of blocks at
widths 64, 128, 256, 512; all but the first begin with stride 2. The stem is one 3 x 3 convolution of stride 1
without a max-pool, as is usual for images of side 32 (ImageNet's 7 x 7 of stride 2 leaves next to nothing).
"""

from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (64, 128, 256, 512)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the side (but for its stride), and batch norm in place of its bias."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Block(nn.Module):
    """x <- relu(F(x) + S(x)).

    Args:
        residual: F.
        inputs, outputs: channels of x and of F(x).
        stride: of F.
    """

    def __init__(self, residual: list[nn.Module], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*residual)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(*(_conv(inputs, outputs, 1, stride) if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] -> [b, outputs, h/stride, w/stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x))


def _basic(inputs: int, width: int, stride: int) -> Block:
    """Two 3 x 3 convolutions."""
    layers = [*_conv(inputs, width, 3, stride), nn.ReLU(), *_conv(width, width, 3)]
    return Block(layers, inputs, width, stride)


def _bottleneck(inputs: int, width: int, stride: int) -> Block:
    """1 x 1 down to the width, 3 x 3 (which has the stride), 1 x 1 up to four times the width."""
    layers = [*_conv(inputs, width, 1), nn.ReLU(), *_conv(width, width, 3, stride), nn.ReLU()]
    return Block([*layers, *_conv(width, 4 * width, 1)], inputs, 4 * width, stride)


def resnet18(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Two basic blocks a stage; 11,173,962 parameters on 3 channels with L = 10."""
    stages: list[nn.Module] = []
    channels = 64
    for stage, width in enumerate(_WIDTHS):
        for number in range(2):
            stages.append(_basic(channels, width, 2 if stage and not number else 1))
            channels = width
    return _around(shape[0], stages, channels, labels)


def resnet50(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """3, 4, 6 and 3 bottleneck blocks; 23,520,842 parameters on 3 channels with L = 10."""
    stages: list[nn.Module] = []
    channels = 64
    for stage, (width, blocks) in enumerate(zip(_WIDTHS, (3, 4, 6, 3), strict=True)):
        for number in range(blocks):
            stages.append(_bottleneck(channels, width, 2 if stage and not number else 1))
            channels = 4 * width
    return _around(shape[0], stages, channels, labels)


def _around(inputs: int, stages: list[nn.Module], channels: int, labels: int) -> nn.Sequential:
    """The stem before the stages, and after them the mean over the image and a linear layer."""
    stem = [*_conv(inputs, 64, 3), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, labels)]
    return nn.Sequential(*stem, *stages, *head)
