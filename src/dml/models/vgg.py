"""VGG (Simonyan, Zisserman, arXiv 1409.1556) for small images: with batch norm, and without."""

from collections.abc import Sequence

from torch import nn

from dml.models.dropout import Dropout

_ELEVEN = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_SIXTEEN = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Configurations A and D: the channels of the convolutions between the max-pools."""


def vgg11(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Eight 3 x 3 convolutions in five stages without batch norm, and three linear layers with dropout.

    As in the experiments of RelaySGD (Vogels et al., arXiv 2110.04175) on [3, 32, 32], where nothing is left
    to average: dropout 0.5, 512-512, dropout 0.5, 512-512-L; 9,750,922 parameters with L = 10. The
    convolutions start as of He et al. (arXiv 1502.01852, eq. 14): without batch norm, torch's own start lets
    what the images tell fade out on its way through them.
    """
    features = _stages(shape[0], _ELEVEN, normed=False)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    hidden = [layer for _ in range(2) for layer in (Dropout(0.5), nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden, nn.Linear(512, labels))


def vgg16(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Thirteen 3 x 3 convolutions in five stages, each halving the side; then the mean over what is left.

    On [3, 32, 32] nothing is left to average: 512 numbers go to 512-L, one linear layer in place of three;
    14,728,266 parameters with L = 10, and 8,448 batch statistics.
    """
    features = _stages(shape[0], _SIXTEEN, normed=True)
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, labels))


def _stages(channels: int, stages: Sequence[Sequence[int]], *, normed: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for stage in stages:
        for width in stage:
            norm = [nn.BatchNorm2d(width)] if normed else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return layers
