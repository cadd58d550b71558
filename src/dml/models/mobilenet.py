"""MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2), with the strides for small images.

A block widens c channels to t c (1 x 1), filters each channel alone (3 x 3, depthwise, which has the stride)
and narrows to c' without an activation (1 x 1); x is added where stride = 1 and c = c'. With t = 1 there is
nothing to widen. ReLU6 elsewhere, and batch norm after every convolution.
"""

from torch import Tensor, nn

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion t, channels c, blocks n, stride s of the first. The paper has s = 2 for 24 channels and in the
stem, at side 224; with 1 in both, a side of 32 ends as 4."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class InvertedResidual(nn.Module):
    """One block.

    Args:
        inputs, outputs: channels.
        expansion: t.
        stride: of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [*_conv(inputs, inner, 1), nn.ReLU6()] if expansion > 1 else []
        filtered = [*_conv(inner, inner, 3, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *filtered, *_conv(inner, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] -> [b, outputs, h/stride, w/stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


def mobilenetv2(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Width 1: 2,236,682 parameters on 3 channels with L = 10."""
    layers: list[nn.Module] = [*_conv(shape[0], 32, 3), nn.ReLU6()]
    channels = 32
    for expansion, width, blocks, stride in _STAGES:
        for number in range(blocks):
            layers.append(InvertedResidual(channels, width, expansion, 1 if number else stride))
            channels = width
    layers += [*_conv(channels, 1280, 1), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, labels))
