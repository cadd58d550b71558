"""The gradients of one model's loss on one batch: by torch's autograd, or by the formulas of a perceptron.

Both call the same kernels on the same numbers, so they give the same bits. The formulas, which stand in
:mod:`dml.training.gradients`, save autograd's own work, which is more than the arithmetic of a small model.
And they write into the same memory at every step, while autograd's gradients of a large model are new each
time, and may be pages that the system has to clear first.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dml.data.dataset import IGNORED
from dml.training import gradients, kernels
from dml.training.answers import ALL, Answers
from dml.training.tensors import arranging, computing


def of(module: nn.Module, precision: str, device: torch.device, answers: Answers = ALL) -> "Backward":
    """The faster way for models like this one; all answers of a perceptron, which sees images, count."""
    context, arrange = computing(precision, device), arranging(module, precision, device)
    if _is_perceptron(module) and all(p.requires_grad for p in module.parameters()):
        return _Perceptron(context, arrange, precision, gradients.is_perceptron(module))
    return Backward(context, arrange, answers)


def _is_perceptron(module: nn.Module) -> bool:
    """Whether it is flatten, linear .. linear, all with biases, with ReLUs between all of them or none."""
    if gradients.is_perceptron(module):
        return True
    # A class of its own may have more in it than its layers.
    if type(module) is not nn.Sequential or len(module) < 2 or type(module[0]) is not nn.Flatten:
        return False
    return all(type(layer) is nn.Linear and layer.bias is not None for layer in list(module)[1:])


def part_of_mean(logits: Tensor, targets: Tensor, total: int) -> Tensor:
    """What some answers add to the mean cross entropy of a larger batch.

    Args:
        logits: [answers, L].
        targets: [answers].
        total: how many answers of the larger batch count.
    """
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / total


class Backward:
    """Says what a model answers, and how its loss changes with its parameters; any model.

    Args:
        context: of its forward pass.
        arrange: a batch, for it.
        answers: which of them count.
    """

    def __init__(
        self,
        context: AbstractContextManager[Any],
        arrange: Callable[[Tensor], Tensor],
        answers: Answers = ALL,
    ) -> None:
        self._context, self._arrange, self._answers = context, arrange, answers

    def __call__(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The mean loss of a batch.

        Args:
            module: the model, in training mode.
            parameters: its trained ones.
            x: inputs, [b, ...].
            y: answers, [b] or [b, A].

        Returns:
            Logits, one row per answer, and the mean cross entropy of the answers that count, both in the
            parameters' type, and the gradient of each parameter, which is there until the next call.
        """
        logits = self._logits(module, parameters, x)
        loss = functional.cross_entropy(logits, self._answers.targets(y.flatten()), ignore_index=IGNORED)
        return logits.detach(), loss.detach(), self._back(parameters, loss)

    def part(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor, total: int
    ) -> tuple[Tensor, list[Tensor]]:
        """What some samples add to the gradient of the mean loss of a larger batch.

        Args:
            module, parameters, x, y: as of a call.
            total: how many answers of the larger batch count.

        Returns:
            Logits, and the gradient of each parameter, as of a call.
        """
        logits = self._logits(module, parameters, x)
        loss = part_of_mean(logits, self._answers.targets(y.flatten()), total)
        return logits.detach(), self._back(parameters, loss)

    def _back(self, parameters: list[Tensor], loss: Tensor) -> list[Tensor]:
        # The last step's gradients are dropped only now: the heap, which would shrink at once if they
        # went after the step, takes the new ones in their place.
        self.release(parameters)
        loss.backward()  # type: ignore[no-untyped-call]
        return self._gradients(parameters)

    def weighted(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """A weighted sum of the losses of a batch.

        Args:
            module, parameters, x, y: as of a call.
            weights: of the answers of each sample, [b].

        Returns:
            The loss of each answer, 0 if it does not count, and whether it was right, [b, A] both, and the
            gradient of the weighted sum in each parameter.
        """
        logits, answers = self._logits(module, parameters, x), y.view(len(y), -1)
        targets = self._answers.targets(answers.flatten())
        losses = functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED).view_as(
            answers
        )
        self.release(parameters)
        (losses * weights[:, None]).sum().backward()  # type: ignore[no-untyped-call]
        found = [gradient.clone() for gradient in self._gradients(parameters)]
        self.release(parameters)
        hits = self._answers.hits(logits.detach(), answers.flatten()).view_as(answers)
        return losses.detach(), hits, found

    def _logits(self, module: nn.Module, parameters: list[Tensor], x: Tensor) -> Tensor:
        # One row per answer; of a sequence, one for each place.
        with self._context:
            logits: Tensor = module(self._arrange(x)).flatten(0, -2)
        return logits.to(parameters[0].dtype)

    @staticmethod
    def _gradients(parameters: list[Tensor]) -> list[Tensor]:
        result = [p.grad for p in parameters if p.grad is not None]
        if len(result) < len(parameters):
            raise RuntimeError("a parameter of the model takes no part in its output")
        return result

    def release(self, parameters: list[Tensor]) -> None:
        """Called when no step of these parameters follows: gradients of one model are held at a time."""
        for parameter in parameters:
            parameter.grad = None


class _Perceptron(Backward):
    """Flatten, linear, linear, ..., linear, with the gradients of one model in memory of their own.

    Args:
        context: of its forward pass.
        arrange: a batch, for it.
        precision: fp32, or bf16: as under autocast, parameters and features are rounded for the products, and
            so is each gradient before the optimiser takes it in the parameters' type.
        masked: whether there are ReLUs between the linear layers.
    """

    def __init__(
        self,
        context: AbstractContextManager[Any],
        arrange: Callable[[Tensor], Tensor],
        precision: str,
        masked: bool,
    ) -> None:
        super().__init__(context, arrange)
        self._masked = masked
        self._rounded = precision == "bf16"
        self._own: list[Tensor] = []
        self._parameters: list[Tensor] = []
        self._products: list[Tensor] = []

    @torch.no_grad()
    def __call__(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As of any model."""
        seen, own, logits = self._up(parameters, x)
        logs, y = kernels.log_softmax(logits), y.flatten().long()
        loss, weight = kernels.nll_loss(logs, y)
        gradients = self._down(seen, own, logs, kernels.nll_loss_backward(loss, logs, y, weight))
        return logits, loss, gradients

    @torch.no_grad()
    def part(
        self, module: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor, total: int
    ) -> tuple[Tensor, list[Tensor]]:
        """As of any model."""
        seen, own, logits = self._up(parameters, x)
        logs = kernels.log_softmax(logits)
        d = kernels.nll_part_backward(logs, y.flatten().long(), total)
        return logits, self._down(seen, own, logs, d)

    def _up(self, parameters: list[Tensor], x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The input of each layer, the parameters as they are multiplied, and the logits."""
        if not self._own:
            self._allocate(parameters)
        own = parameters
        if self._rounded:
            own, x = self._parameters, x.bfloat16()
            for parameter, rounded in zip(parameters, own, strict=True):
                rounded.copy_(parameter)
        weights, h = own[0::2], x.flatten(1)
        seen: list[Tensor] = []
        for weight, bias in zip(weights, own[1::2], strict=True):
            h = h.relu_() if seen and self._masked else h
            seen.append(h)
            h = functional.linear(h, weight, bias)
        return seen, own, h.to(parameters[0].dtype)

    def _down(self, seen: list[Tensor], own: list[Tensor], logs: Tensor, d: Tensor) -> list[Tensor]:
        """The gradients of all parameters, given that of the logarithms of the answers' probabilities."""
        weights = own[0::2]
        d = kernels.log_softmax_backward(d, logs).to(weights[0].dtype)
        for k in range(len(weights) - 1, -1, -1):
            torch.mm(d.t(), seen[k], out=self._products[2 * k])
            torch.sum(d, 0, out=self._products[2 * k + 1])
            if k:
                d = d.mm(weights[k])
                d = kernels.relu_backward(d, seen[k]) if self._masked else d
        if self._rounded:
            for gradient, product in zip(self._own, self._products, strict=True):
                gradient.copy_(product)
        return self._own

    def _allocate(self, parameters: list[Tensor]) -> None:
        self._own = self._products = [torch.empty_like(p) for p in parameters]
        if self._rounded:
            self._parameters, self._products = (
                [torch.empty_like(p, dtype=torch.bfloat16) for p in parameters] for _ in range(2)
            )
