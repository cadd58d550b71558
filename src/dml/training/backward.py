"""The gradients of one model's loss on one batch: by torch's autograd, or by the formulas of a perceptron.

Both call the same kernels on the same numbers, so they give the same bits. The formulas, which stand in
:mod:`dml.training.gradients`, save autograd's own work, more than the arithmetic of a small model. And they
write into the same memory at every step, where autograd's gradients of a large model are new each time, and
may be pages that the system has to clear first.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dml.training import gradients
from dml.training.tensors import arranging, computing

_aten = torch.ops.aten


class Backward(Protocol):
    """Says what a model answers, and how its loss changes with its parameters."""

    def __call__(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """A batch.

        Args:
            module: the model, in training mode.
            parameters: its own.
            x: inputs, [b, ..].
            y: answers, [b] or [b, A].

        Returns:
            Logits, one row an answer, and the mean cross entropy, both in the parameters' type, and the
            gradient in each parameter, which is there until the next call.
        """

    def release(self, parameters: list[Tensor]) -> None:
        """Called when no step of these parameters follows for now."""


def of(module: nn.Module, precision: str, device: torch.device) -> Backward:
    """The faster way for models like this one."""
    if gradients.is_perceptron(module) and all(p.requires_grad for p in module.parameters()):
        return _Perceptron(precision)
    return _Autograd(computing(precision, device), arranging(module, precision, device))


class _Autograd:
    """Any model.

    Args:
        context: of its forward pass.
        arrange: a batch, for it.
    """

    def __init__(self, context: AbstractContextManager[Any], arrange: Callable[[Tensor], Tensor]) -> None:
        self._context, self._arrange = context, arrange

    def __call__(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        # One row an answer: of a sequence, one for each place.
        with self._context:
            logits = module(self._arrange(x)).flatten(0, -2)
        logits = logits.to(parameters[0].dtype)
        loss = functional.cross_entropy(logits, y.flatten().long())
        # The last step's gradients are dropped only now: the heap, which would shrink at once if they
        # went after the step, takes the new ones in their place.
        self.release(parameters)
        loss.backward()  # type: ignore[no-untyped-call]
        result = [p.grad for p in parameters if p.grad is not None]
        if len(result) < len(parameters):
            raise RuntimeError("a parameter of the model takes no part in its output")
        return logits.detach(), loss.detach(), result

    def release(self, parameters: list[Tensor]) -> None:
        """One model's worth of gradients is held at a time, not one for each node."""
        for parameter in parameters:
            parameter.grad = None


class _Perceptron:
    """Flatten, linear, ReLU, linear .. linear, with the gradients of one model in memory of their own.

    Args:
        precision: fp32, or bf16: as under autocast parameters and features are rounded for the products, and
            so is each gradient, before the optimiser takes it in the parameters' type.
    """

    def __init__(self, precision: str) -> None:
        self._rounded = precision == "bf16"
        self._gradients: list[Tensor] = []
        self._parameters: list[Tensor] = []
        self._products: list[Tensor] = []

    @torch.no_grad()
    def __call__(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        if not self._gradients:
            self._allocate(parameters)
        own = parameters
        if self._rounded:
            own, x = self._parameters, x.bfloat16()
            for parameter, rounded in zip(parameters, own, strict=True):
                rounded.copy_(parameter)
        weights, h = own[0::2], x.flatten(1)
        seen: list[Tensor] = []
        for weight, bias in zip(weights, own[1::2], strict=True):
            h = h.relu_() if seen else h
            seen.append(h)
            h = functional.linear(h, weight, bias)
        logits, y = h.to(parameters[0].dtype), y.flatten().long()
        logs = _aten._log_softmax(logits, 1, False)
        loss, total = _aten.nll_loss_forward(logs, y, None, 1, -100)
        d = _aten.nll_loss_backward(torch.ones_like(loss), logs, y, None, 1, -100, total)
        d = _aten._log_softmax_backward_data(d, logs, 1, logs.dtype).to(h.dtype)
        for k in range(len(weights) - 1, -1, -1):
            torch.mm(d.t(), seen[k], out=self._products[2 * k])
            torch.sum(d, 0, out=self._products[2 * k + 1])
            if k:
                d = _aten.threshold_backward(d.mm(weights[k]), seen[k], 0)
        if self._rounded:
            for gradient, product in zip(self._gradients, self._products, strict=True):
                gradient.copy_(product)
        return logits, loss, self._gradients

    def _allocate(self, parameters: list[Tensor]) -> None:
        self._gradients = self._products = [torch.empty_like(p) for p in parameters]
        if self._rounded:
            self._parameters, self._products = (
                [torch.empty_like(p, dtype=torch.bfloat16) for p in parameters] for _ in range(2)
            )

    def release(self, parameters: list[Tensor]) -> None:
        """What is held is that of one model anyway."""
