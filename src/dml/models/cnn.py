"""The two convolutional networks for CIFAR of arXiv 2505.11760: 3 x 3 convolutions, all with padding 1."""

from torch import nn

from dml.models.dropout import Dropout


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]


def six(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Six convolutions, a 2 x 2 max-pool after each pair, three linear layers.

    On [3, 32, 32]: 32-64 | 128-128 | 256-256 at sides 32, 16, 8, then 256 x 4 x 4 = 4096-1024-512-L;
    5,851,338 parameters with L = 10.
    """
    channels, height, width = shape
    return nn.Sequential(
        *_conv(channels, 32),
        *_conv(32, 64),
        nn.MaxPool2d(2),
        *_conv(64, 128),
        *_conv(128, 128),
        nn.MaxPool2d(2),
        *_conv(128, 256),
        *_conv(256, 256),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256 * (height // 8) * (width // 8), 1024),
        nn.ReLU(),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Linear(512, labels),
    )


def four_with_dropout(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """Four convolutions, a max-pool and dropout of 0.25 after each pair, three linear layers.

    On [3, 32, 32]: 48-96 | 192-256 at sides 32 and 16, then 256 x 8 x 8 = 16384-512-64-L, with dropout
    before the last layer; 9,074,218 parameters with L = 10.
    """
    channels, height, width = shape
    return nn.Sequential(
        *_conv(channels, 48),
        *_conv(48, 96),
        nn.MaxPool2d(2),
        Dropout(0.25),
        *_conv(96, 192),
        *_conv(192, 256),
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
