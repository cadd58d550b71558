"""The residual blocks of the ResNets and of MobileNetV2, with batch norm after every convolution."""

from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with batch norm instead of a bias; it divides the side of an image by its stride.

    Args:
        inputs, outputs: the numbers of channels.
        kernel: the side of the filter, odd.
        stride: the stride of the filter.
        groups: the number of groups of channels that are filtered separately.
    """
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class ResidualBlock(nn.Module):
    """x <- relu(F(x) + S(x)), where S is the identity or, if F changes the shape, a 1 x 1 convolution.

    Args:
        residual: the layers of F.
        inputs, outputs: the numbers of channels of x and of F(x).
        stride: the stride of F.
    """

    def __init__(self, residual: list[nn.Module], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*residual)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(*(convolution(inputs, outputs, 1, stride) if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] -> [b, outputs, h/stride, w/stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x))


def basic_block(inputs: int, width: int, stride: int) -> ResidualBlock:
    """A residual block of two 3 x 3 convolutions."""
    layers = [*convolution(inputs, width, 3, stride), nn.ReLU(), *convolution(width, width, 3)]
    return ResidualBlock(layers, inputs, width, stride)


def bottleneck_block(inputs: int, width: int, stride: int) -> ResidualBlock:
    """A residual block: 1 x 1 down to the width, 3 x 3 with the stride, 1 x 1 up to four times the width."""
    layers = [*convolution(inputs, width, 1), nn.ReLU(), *convolution(width, width, 3, stride), nn.ReLU()]
    return ResidualBlock([*layers, *convolution(width, 4 * width, 1)], inputs, 4 * width, stride)


class InvertedResidual(nn.Module):
    """x <- F(x), plus x if F keeps the shape. F widens, filters each channel by itself, and narrows again.

    Args:
        inputs, outputs: the numbers of channels of x and of F(x).
        expansion: the factor by which F widens; with 1, F begins with the filter.
        stride: the stride of the filter.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [*convolution(inputs, inner, 1), nn.ReLU6()] if expansion > 1 else []
        filtered = [*convolution(inner, inner, 3, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *filtered, *convolution(inner, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] -> [b, outputs, h/stride, w/stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y
