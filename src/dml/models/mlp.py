"""Multi-layer perceptrons with ReLU between the layers."""

import math

from torch import nn


def _mlp(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for k in range(len(widths) - 1):
        layers += [nn.Linear(widths[k], widths[k + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """One hidden layer of 64: 64-64-10 on digits, 4,810 parameters."""
    return _mlp([math.prod(shape), 64, labels])


def mnist(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    """784-3136-784-196-10, 5,076,998 parameters: the MNIST model of arXiv 2505.11760."""
    return _mlp([math.prod(shape), 3136, 784, 196, labels])
