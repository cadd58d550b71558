"""The two convolutional networks for CIFAR of arXiv 2505.11760: 3 x 3 convolutions with padding 1."""

from typing import TYPE_CHECKING

from dml.models.spec import DROPOUT, ModelSpec, Shape, images

if TYPE_CHECKING:
    from torch import nn


def six(shape: Shape, labels: int) -> "nn.Sequential":
    """Six convolutions with a 2 x 2 max-pool after each pair, and three linear layers.

    On [3, 32, 32]: 32-64 | 128-128 | 256-256 at sides 32, 16 and 8, then 256 x 4 x 4 = 4096-1024-512-L;
    5,851,338 parameters with L = 10.
    """
    from torch import nn

    channels, height, width = shape
    return nn.Sequential(
        *_convolution(channels, 32),
        *_convolution(32, 64),
        nn.MaxPool2d(2),
        *_convolution(64, 128),
        *_convolution(128, 128),
        nn.MaxPool2d(2),
        *_convolution(128, 256),
        *_convolution(256, 256),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256 * (height // 8) * (width // 8), 1024),
        nn.ReLU(),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Linear(512, labels),
    )


def four_with_dropout(shape: Shape, labels: int) -> "nn.Sequential":
    """Four convolutions with a max-pool and dropout of 0.25 after each pair, and three linear layers.

    On [3, 32, 32]: 48-96 | 192-256 at sides 32 and 16, then 256 x 8 x 8 = 16384-512-64-L, with dropout
    before the last layer; 9,074,218 parameters with L = 10.
    """
    from torch import nn

    from dml.models.dropout import Dropout

    channels, height, width = shape
    return nn.Sequential(
        *_convolution(channels, 48),
        *_convolution(48, 96),
        nn.MaxPool2d(2),
        Dropout(0.25),
        *_convolution(96, 192),
        *_convolution(192, 256),
        nn.MaxPool2d(2),
        Dropout(0.25),
        nn.Flatten(),
        nn.Linear(256 * (height // 4) * (width // 4), 512),
        nn.ReLU(),
        nn.Linear(512, 64),
        nn.ReLU(),
        Dropout(0.25),
        nn.Linear(64, labels),
    )


def _convolution(inputs: int, outputs: int) -> list["nn.Module"]:
    from torch import nn

    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]


CNN = ModelSpec(six, takes="images with sides of 8 or more", fits=images(8))
CNN_DROPOUT = ModelSpec(
    four_with_dropout, takes="images with sides of 4 or more", fits=images(4), single=DROPOUT
)
