"""Local optimisers as single fused kernels over a node's parameters.

They are the kernels behind ``torch.optim``'s ``fused=True``, called without its wrapper, which costs more
than the arithmetic of a small model (and a second at its first use, for torch's compiler). The formulas:

    sgd     b <- momentum b + g (b = g in the first step);  x <- x - lr b, or with Nesterov's form
            x <- x - lr (g + momentum b)
    adam    m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g^2;
            x <- x - lr m^ / (sqrt(v^) + 1e-8),  m^ = m / (1 - beta_1^t), v^ = v / (1 - beta_2^t)
    adamw   the same after x <- x - lr weight_decay x

with g + weight_decay x in place of g for sgd and adam.
"""

from typing import Protocol

import torch
from torch import Tensor

from dml.training.config import TrainingConfig

EPSILON = 1e-8
"""Added to Adam's denominator."""


class Optimizer(Protocol):
    """The optimiser of one node, with its state."""

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place, given a gradient for each."""

    def reset(self) -> None:
        """Forgets the state, as at the start of a round."""


class Sgd:
    """Stochastic gradient descent with (Nesterov) momentum."""

    def __init__(self, parameters: list[Tensor], config: TrainingConfig) -> None:
        self._parameters, self._config = parameters, config
        self._momentum = [torch.zeros_like(p) for p in parameters] if config.momentum else []
        self._fresh = True

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place."""
        torch._fused_sgd_(
            self._parameters,
            gradients,
            self._momentum,
            weight_decay=self._config.weight_decay,
            momentum=self._config.momentum,
            lr=self._config.lr,
            dampening=0.0,
            nesterov=self._config.nesterov,
            maximize=False,
            is_first_step=self._fresh,
        )
        self._fresh = False

    def reset(self) -> None:
        """The next step takes the gradient itself for the momentum."""
        self._fresh = True


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
        torch._foreach_add_(self._steps, 1)
        self._kernel(
            self._parameters,
            gradients,
            self._first,
            self._second,
            [],
            self._steps,
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


def make(parameters: list[Tensor], config: TrainingConfig) -> Optimizer:
    """The optimiser that the configuration names, for one node's parameters."""
    return Sgd(parameters, config) if config.optimizer == "sgd" else Adam(parameters, config)
