"""The private functions of torch that training calls, and why; checked with the versions of ``CHECKED``.

They have kept their names and arguments for years, but torch promises neither;
``tests/training/test_kernels.py`` compares each with torch's public functions.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

CHECKED = ("2.13",)
"""Versions of torch with which these were compared with the public functions."""

aten: Any = torch.ops.aten
"""Backward formulas, written once in torch itself, and called without autograd's own work."""


def sgd(
    tensors: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    *,
    lr: float,
    momentum_factor: float = 0.0,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """One step of ``torch.optim.SGD(fused=True)`` on each tensor, in place."""
    torch._fused_sgd_(
        tensors,
        gradients,
        momentum,
        weight_decay=weight_decay,
        momentum=momentum_factor,
        lr=lr,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
        # From a momentum of 0 the first step takes the gradient itself, like any other step.
        is_first_step=False,
    )


def adam(
    tensors: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    decoupled: bool,
    lr: float,
    beta_1: float,
    beta_2: float,
    weight_decay: float,
    epsilon: float,
) -> None:
    """One step of ``torch.optim.Adam(fused=True)``, or of AdamW if weight decay is decoupled, in place."""
    kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
    kernel(
        tensors,
        gradients,
        first,
        second,
        [],
        steps,
        lr=lr,
        beta1=beta_1,
        beta2=beta_2,
        weight_decay=weight_decay,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )


def adadelta(
    tensors: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    changes: list[Tensor],
    *,
    lr: float,
    rho: float,
    weight_decay: float,
    epsilon: float,
) -> None:
    """One step of ``torch.optim.Adadelta(foreach=True)`` on each tensor, in place; torch has no fused one."""
    if weight_decay:
        gradients = list(torch._foreach_add(gradients, tensors, alpha=weight_decay))
    torch._foreach_mul_(squares, rho)
    torch._foreach_addcmul_(squares, gradients, gradients, value=1 - rho)
    steps, roots = torch._foreach_add(changes, epsilon), torch._foreach_add(squares, epsilon)
    torch._foreach_sqrt_(steps)
    torch._foreach_sqrt_(roots)
    torch._foreach_div_(steps, roots)
    torch._foreach_mul_(steps, gradients)
    torch._foreach_mul_(changes, rho)
    torch._foreach_addcmul_(changes, steps, steps, value=1 - rho)
    torch._foreach_add_(tensors, steps, alpha=-lr)


def add_one(tensors: list[Tensor]) -> None:
    """Adds 1 to each tensor, in place."""
    torch._foreach_add_(tensors, 1)


def log_softmax(logits: Tensor) -> Tensor:
    """The logarithm of the softmax of each row."""
    result: Tensor = torch._log_softmax(logits, 1, False)
    return result


def log_softmax_backward(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient of the input of :func:`log_softmax`, given that of its output."""
    result: Tensor = torch._log_softmax_backward_data(gradient, output, 1, output.dtype)
    return result


def nll_loss(logs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of -logs at the labels, and the total weight that its gradient needs."""
    loss, total = aten.nll_loss_forward(logs, labels, None, 1, -100)
    return loss, total


def nll_loss_backward(loss: Tensor, logs: Tensor, labels: Tensor, total: Tensor) -> Tensor:
    """The gradient of ``logs`` in :func:`nll_loss`."""
    result: Tensor = aten.nll_loss_backward(torch.ones_like(loss), logs, labels, None, 1, -100, total)
    return result


def nll_part_backward(logs: Tensor, labels: Tensor, total: int) -> Tensor:
    """The gradient of ``logs`` in the sum of -logs at the labels, divided by ``total``."""
    share = _share(total, logs.dtype, logs.device)
    # A sum has no use for the total weight.
    result: Tensor = aten.nll_loss_backward(share, logs, labels, None, 2, -100, share)
    return result


@lru_cache(64)
def _share(total: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1/total; most batches have as many answers as others."""
    return torch.tensor(1 / total, dtype=dtype, device=device)


def relu_backward(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient of the input of a ReLU, given that of its output, and its output."""
    result: Tensor = aten.threshold_backward(gradient, output, 0)
    return result
