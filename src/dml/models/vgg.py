"""VGG (Simonyan, Zisserman, arXiv 1409.1556) with batch norm, and one linear layer in place of three."""

from torch import nn

_SIXTEEN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Configuration D: the channels of the convolutions between the max-pools."""


def vgg16(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Thirteen 3 x 3 convolutions in five stages, each halving the side; then the mean over what is left.

    On [3, 32, 32] nothing is left to average: 512 numbers go to 512-L; 14,728,266 parameters with L = 10,
    and 8,448 batch statistics.
    """
    layers: list[nn.Module] = []
    channels = shape[0]
    for stage in _SIXTEEN:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, labels))
