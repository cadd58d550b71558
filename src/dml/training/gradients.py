"""Outputs and gradients of many models of one architecture at once.

The models are rows of a matrix, [m, P], as in a population; so are their gradients. Two ways to one result:

- perceptrons by the formulas of their backward pass, written as products of stacks of matrices. A layer is
  h' = max(0, h W^T + b); with d the gradient of its output before the max,

      dW = d^T h;    db = sum of d over the batch;    d of the layer below = d W where its h is above 0

  and, at the top, d = weight (softmax(logits) - onehot(answer)), weight being 1 over the batch's answers;
- any other model by ``torch.func.vmap`` of its forward pass, and torch's own backward pass through that.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from dml.data.dataset import IGNORED
from dml.training import kernels
from dml.training.answers import ALL, Answers

Tensors = Sequence[tuple[int, torch.Size]]
"""First column and shape of each parameter, as in :attr:`dml.population.Population.tensors`."""


BLOCK = {"cpu": 2 << 20}
"""Bytes of models that are worked on at a time: on a CPU what its caches hold beside their gradients, so that
4,096 nodes cost no more each than 33."""

BLOCK_ELSEWHERE = 1 << 30
"""On a card so much that its memory holds them with gradients and features."""


def block(X: Tensor) -> int:
    """How many models, rows of X, are worked on at a time."""
    return max(1, BLOCK.get(X.device.type, BLOCK_ELSEWHERE) // (X.shape[1] * X.element_size()))


@dataclass(frozen=True)
class Step:
    """What one step of m models gives; each has w samples of A answers (labels, or next tokens).

    Args:
        gradient: of the weighted losses' sum in each model's parameters, [m, P], 0 in the padding.
        losses: cross entropy of each answer, 0 if it does not count, [m, w, A].
        hits: whether each answer was right, [m, w, A].
    """

    gradient: Tensor
    losses: Tensor
    hits: Tensor


Gradients = Callable[[Tensor, Tensor, Tensor, Tensor], Step]
"""(models [m, P], inputs [m, w, ..], answers [m, w] or [m, w, A], weight of each sample's answers [m, w])
-> the step."""


Outputs = Callable[[Tensor, Tensor], Tensor]
"""(models [m, P], inputs [w, ..] that all of them see) -> logits [m, w, .., L]."""


def outputs_of(module: nn.Module, tensors: Tensors) -> Outputs:
    """What all models say of the same samples; arguments as of :func:`of`."""
    if is_perceptron(module):
        return lambda models, x: _layers(_views(models, tensors), x.flatten(1).expand(len(models), -1, -1))[
            -1
        ]
    names = _trained(module)
    forward = vmap(lambda parameters, x: functional_call(module, parameters, (x,)), in_dims=(0, None))

    def outputs(models: Tensor, x: Tensor) -> Tensor:
        with _attention(models.device):
            logits: Tensor = forward(dict(zip(names, _views(models, tensors), strict=True)), x)
        return logits

    return outputs


def of(module: nn.Module, tensors: Tensors, answers: Answers = ALL) -> Gradients:
    """The faster of the two ways for models like this one.

    Args:
        module: one of them; without buffers, and the same function of its input in every call.
        tensors: where its parameters lie in a row.
        answers: which of them count; for a perceptron, all do.
    """
    return _perceptron(tensors) if is_perceptron(module) else _vmapped(module, tensors, answers)


def is_perceptron(module: nn.Module) -> bool:
    """Whether it is flatten, linear, ReLU, linear .. linear, all with biases."""
    # A class of its own may have more in it than its layers.
    if type(module) is not nn.Sequential or len(module) < 2 or len(module) % 2:
        return False
    pattern = [nn.Flatten] + [nn.Linear, nn.ReLU] * (len(module) // 2)
    layers = list(module)
    return all(type(layer) is kind for layer, kind in zip(layers, pattern, strict=False)) and all(
        layer.bias is not None for layer in layers[1::2]
    )


def _views(models: Tensor, tensors: Tensors) -> list[Tensor]:
    """Each parameter of all models, [m, *shape]."""
    sizes = [shape.numel() for _, shape in tensors]
    # One split, whose gradient is one concatenation; each slice's would be a whole matrix of zeros.
    parts = torch.split(models, [*sizes, models.shape[1] - sum(sizes)], 1)
    return [part.view(len(models), *shape) for part, (_, shape) in zip(parts, tensors, strict=False)]


def _layers(views: Sequence[Tensor], h: Tensor) -> list[Tensor]:
    """The input of each layer of a perceptron, and its logits; ``views`` are weights and biases in turn."""
    seen: list[Tensor] = []
    for matrix, bias in zip(views[0::2], views[1::2], strict=True):
        h = h.relu_() if seen else h
        seen.append(h)
        h = torch.baddbmm(bias[:, None], h, matrix.mT)
    # In the models' own type, whatever the products were computed in: so are the losses.
    return [*seen, h.to(views[0].dtype)]


def _perceptron(tensors: Tensors) -> Gradients:
    @torch.no_grad()
    def gradients(models: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Step:
        views = _views(models, tensors)
        *seen, logits = _layers(views, x.flatten(2))
        logs, answers = logits.log_softmax(2), y.long()[..., None]
        d = logs.exp()
        d.scatter_add_(2, answers, torch.full_like(answers, -1, dtype=d.dtype)).mul_(weights[..., None])
        parts: list[Tensor] = []
        for matrix, h in zip(reversed(views[0::2]), reversed(seen), strict=True):
            parts[:0] = [torch.bmm(d.mT, h).flatten(1), d.sum(1)]
            if h is not seen[0]:
                d = kernels.relu_backward(torch.bmm(d, matrix), h)
        padding = models.shape[1] - sum(part.shape[1] for part in parts)
        gradient = torch.cat([*parts, models.new_zeros(len(models), padding)], 1)
        return Step(gradient, -logs.gather(2, answers), logits.argmax(2, keepdim=True) == answers)

    return gradients


def _vmapped(module: nn.Module, tensors: Tensors, answers: Answers = ALL) -> Gradients:
    names = _trained(module)
    forward = vmap(lambda parameters, x: functional_call(module, parameters, (x,)))

    def gradients(models: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Step:
        models = models.detach().requires_grad_()
        with _attention(models.device):
            logits = forward(dict(zip(names, _views(models, tensors), strict=True)), x)
        y = y.view(*y.shape[:2], -1)
        logits = logits.reshape(*y.shape, -1)
        losses = functional.cross_entropy(
            logits.flatten(0, -2), answers.targets(y.flatten()), reduction="none", ignore_index=IGNORED
        ).view_as(y)
        (gradient,) = torch.autograd.grad(losses, models, weights[..., None].expand_as(losses))
        return Step(gradient, losses.detach(), answers.hits(logits.detach(), y))

    return gradients


def _trained(module: nn.Module) -> list[str]:
    """The names of the parameters that are columns of a population; frozen ones stay in the module."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def _attention(device: torch.device) -> AbstractContextManager[object]:
    """On a CPU torch's fused attention cannot be vmapped, and would run once for each model."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
