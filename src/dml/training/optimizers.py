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

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.training.config import TrainingConfig

EPSILON = 1e-8
"""Added to Adam's denominator."""


class Optimizer(Protocol):
    """The optimiser of some tensors, which knows the state of each: a node's parameters, or whole models."""

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place, given a gradient for each, or for the first of them."""


class Sgd:
    """Stochastic gradient descent with (Nesterov) momentum.

    Args:
        parameters: the tensors.
        config: learning rate, momentum, weight decay.
        momentum: of each tensor; none where there is no momentum.
    """

    def __init__(self, parameters: list[Tensor], config: TrainingConfig, momentum: list[Tensor]) -> None:
        self._parameters, self._config, self._momentum = parameters, config, momentum

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


class Adam:
    """Adam (Kingma, Ba 2015), or AdamW (Loshchilov, Hutter 2019) with decoupled weight decay.

    Args:
        parameters: the tensors.
        config: which of the two, learning rate, betas, weight decay.
        first, second: moments of each tensor.
        counts: steps taken, one number for each tensor, or one for all of them.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        config: TrainingConfig,
        first: list[Tensor],
        second: list[Tensor],
        counts: list[Tensor],
    ) -> None:
        self._parameters, self._config = parameters, config
        self._first, self._second, self._counts = first, second, counts
        self._steps = counts if len(counts) > 1 else counts * len(parameters)
        self._kernel = torch._fused_adamw_ if config.optimizer == "adamw" else torch._fused_adam_

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters in place."""
        count = len(gradients)
        torch._foreach_add_(self._counts[:count], 1)
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


class Memory:
    """What the optimisers of all nodes remember: matrices like X, row i being node i's, and its steps.

    SGD without momentum remembers nothing, and holds nothing.

    Args:
        X: all nodes' models, [n, P].
        trained: how many of its columns are parameters; they stand first.
        config: the optimiser.
    """

    def __init__(self, X: Tensor, trained: int, config: TrainingConfig) -> None:
        self._trained, self._config = trained, config
        adam = config.optimizer != "sgd"
        names = ("first", "second") if adam else ("momentum",) if config.momentum else ()
        self._matrices = {name: torch.zeros_like(X) for name in names}
        self._steps = torch.zeros(len(X), dtype=torch.float32, device=X.device) if adam else None

    def forget(self) -> None:
        """Momentum, moments and step counts start from 0."""
        for matrix in self._matrices.values():
            matrix.zero_()
        if self._steps is not None:
            self._steps.zero_()

    def start_from(self, momentum: Tensor) -> None:
        """The momentum of SGD is a copy of this, [n, trained or more].

        Raises:
            ValueError: the optimiser has none.
        """
        if "momentum" not in self._matrices:
            raise ValueError("only SGD with momentum above 0 can start from a momentum")
        self._matrices["momentum"][:, : self._trained].copy_(momentum[:, : self._trained])

    def of_node(self, node: int, parameters: list[Tensor]) -> Optimizer:
        """The optimiser of a node's parameters, which are views into its row of X."""
        remembered = [
            [matrix.as_strided(p.shape, p.stride(), p.storage_offset()) for p in parameters]
            for matrix in self._matrices.values()
        ]
        return self._optimizer(parameters, remembered, [node])

    def of_models(self, nodes: Sequence[int], models: list[Tensor]) -> Optimizer:
        """The optimiser of these nodes' whole models, rows of X or copies of them."""
        remembered = [[matrix[node] for node in nodes] for matrix in self._matrices.values()]
        return self._optimizer(models, remembered, nodes)

    def _optimizer(
        self, tensors: list[Tensor], remembered: list[list[Tensor]], nodes: Sequence[int]
    ) -> Optimizer:
        if self._steps is None:
            return Sgd(tensors, self._config, remembered[0] if remembered else [])
        first, second = remembered
        return Adam(tensors, self._config, first, second, [self._steps[node] for node in nodes])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it by name: ``momentum``, or ``first``, ``second`` [n, P] and ``steps`` [n]."""
        steps = {} if self._steps is None else {"steps": self._steps}
        return {name: tensor.cpu().numpy() for name, tensor in (self._matrices | steps).items()}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what :meth:`arrays` returned, KeyError or ValueError where that is something else."""
        steps = {} if self._steps is None else {"steps": self._steps}
        for name, tensor in (self._matrices | steps).items():
            if arrays[name].shape != tuple(tensor.shape):
                raise ValueError(f"{name} is {arrays[name].shape}")
            tensor.copy_(torch.from_numpy(arrays[name]))
