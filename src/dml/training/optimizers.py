"""Local optimisers as single fused kernels over a node's parameters.

They are the kernels behind ``torch.optim``'s ``fused=True``, called without its wrapper, which costs more
than the arithmetic of a small model (and a second at its first use, for torch's compiler). The formulas:

    sgd     b <- momentum b + g (from b = 0);  x <- x - lr b, or with Nesterov's form
            x <- x - lr (g + momentum b)
    adam    m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g^2;
            x <- x - lr m^ / (sqrt(v^) + 1e-8),  m^ = m / (1 - beta_1^t), v^ = v / (1 - beta_2^t)
    adamw   the same after x <- x - lr weight_decay x

with g + weight_decay x in place of g for sgd and adam.
"""

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import torch
from torch import Tensor

from dml.training.config import TrainingConfig

EPSILON = 1e-8
"""Added to Adam's denominator."""


class Optimizer(Protocol):
    """The optimiser of some tensors, with the state of each: a node's parameters, or nodes' whole models."""

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place, given a gradient for each, or for the first of them."""

    def reset(self) -> None:
        """Forgets the state, as at the start of a round."""

    def part(self, numbers: Sequence[int], parameters: list[Tensor]) -> "Optimizer":
        """An optimiser with the state of some parameters, for these, which may lie elsewhere by now."""


class Sgd:
    """Stochastic gradient descent with (Nesterov) momentum."""

    def __init__(self, parameters: list[Tensor], config: TrainingConfig) -> None:
        self._parameters, self._config = parameters, config
        self._momentum = [torch.zeros_like(p) for p in parameters] if config.momentum else []

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place."""
        torch._fused_sgd_(
            self._parameters[: len(gradients)],
            gradients,
            self._momentum[: len(gradients)],
            weight_decay=self._config.weight_decay,
            momentum=self._config.momentum,
            lr=self._config.lr,
            dampening=0.0,
            nesterov=self._config.nesterov,
            maximize=False,
            # From a momentum of 0 the first step takes the gradient itself, like any other step.
            is_first_step=False,
        )

    def reset(self) -> None:
        """The momentum starts from 0."""
        if self._momentum:
            torch._foreach_zero_(self._momentum)

    def part(self, numbers: Sequence[int], parameters: list[Tensor]) -> "Sgd":
        """An optimiser with the momentum of some parameters."""
        part = copy(self)
        part._parameters = parameters
        part._momentum = [self._momentum[k] for k in numbers] if self._momentum else []
        return part


class Adam:
    """Adam (Kingma, Ba 2015), or AdamW (Loshchilov, Hutter 2019) with decoupled weight decay."""

    def __init__(self, parameters: list[Tensor], config: TrainingConfig) -> None:
        self._parameters, self._config = parameters, config
        self._first = [torch.zeros_like(p) for p in parameters]
        self._second = [torch.zeros_like(p) for p in parameters]
        self._steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in parameters]
        self._kernel = torch._fused_adamw_ if config.optimizer == "adamw" else torch._fused_adam_

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place."""
        count = len(gradients)
        torch._foreach_add_(self._steps[:count], 1)
        self._kernel(
            self._parameters[:count],
            gradients,
            self._first[:count],
            self._second[:count],
            [],
            self._steps[:count],
            lr=self._config.lr,
            beta1=self._config.beta_1,
            beta2=self._config.beta_2,
            weight_decay=self._config.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def reset(self) -> None:
        """Moments and step count start from 0."""
        for tensors in (self._first, self._second, self._steps):
            torch._foreach_zero_(tensors)

    def part(self, numbers: Sequence[int], parameters: list[Tensor]) -> "Adam":
        """An optimiser with the moments and step counts of some parameters."""
        part = copy(self)
        part._parameters = parameters
        part._first, part._second, part._steps = (
            [tensors[k] for k in numbers] for tensors in (self._first, self._second, self._steps)
        )
        return part


def make(parameters: list[Tensor], config: TrainingConfig) -> Optimizer:
    """The optimiser that the configuration names, for one node's parameters."""
    return Sgd(parameters, config) if config.optimizer == "sgd" else Adam(parameters, config)
