"""What nodes and the server compute from what they are sent, in one virtual batch.

Each function takes tensors and returns tensors, whoever carries them. Node i has n_i of the B rows of a
batch, x_i, whose B answers count. Without a cut, it returns the gradient of its part of the mean loss,

    g_i = 1/B sum over its rows of the gradient of the loss;    g = g_0 + g_1 + ... in the nodes' order.

With a cut into a lower part l and an upper part u,

    1. a_i = l(x_i)                     node i sends a_i, [n_i, ...]
    2. z = u(a)                         the server, on the rows of all nodes in the order of the plan
    3. d = dL/dz                        the server, if nodes send labels; otherwise node i for its rows
    4. gradients of u, and e = dL/da    the server, which returns e_i, the rows of node i and no others
    5. the gradient of l by e_i         node i; the server adds them in the order of the nodes
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dml.training import kernels
from dml.training.answers import Answers
from dml.traversal.cut import is_perceptron
from dml.traversal.perceptron import Gradients, PassedPerceptron, Perceptron


@dataclass(frozen=True)
class Part:
    """The lower or the upper part of a model.

    Args:
        module: its layers, in training mode.
        parameters: the trained ones.
        context: of its forward pass; None if it computes in the parameters' own type.
    """

    module: nn.Module
    parameters: list[Tensor]
    context: AbstractContextManager[Any] | None

    @cached_property
    def perceptron(self) -> Perceptron | None:
        """The part with its gradients written out; None if it is no perceptron, or computes in bf16."""
        if self.context is not None or not is_perceptron(self.module):
            return None
        layers = list(self.module.children())
        linear = sum(isinstance(layer, nn.Linear) for layer in layers)
        return Perceptron(layers) if len(self.parameters) == 2 * linear else None


class Passed:
    """What a part has made of its input, and the way back by autograd.

    Args:
        part: the part.
        x: the input.

    Attributes:
        output: what it has made of it.
    """

    output: Tensor

    def __init__(self, part: Part, x: Tensor) -> None:
        self._part, self._x = part, x.detach()
        if x.is_floating_point():
            self._x.requires_grad_()
        with part.context or nullcontext():
            self._graph: Tensor = part.module(self._x)
        self.output = self._graph.detach()

    def back(self, gradient: Tensor, *, to_input: bool = False) -> list[Tensor]:
        """The gradients of the part's parameters.

        Args:
            gradient: of the loss in the output.
            to_input: whether the gradient of the input is asked for, too; it comes last.
        """
        inputs = [*self._part.parameters, self._x] if to_input else self._part.parameters
        if not inputs:
            return []
        return list(torch.autograd.grad(self._graph, inputs, gradient.to(self._graph.dtype)))


def forward(part: Part, x: Tensor) -> Passed | PassedPerceptron:
    """What a part makes of its input, and the way back."""
    return PassedPerceptron(part.perceptron, x) if part.perceptron else Passed(part, x)


def loss_gradient(logits: Tensor, y: Tensor, total: int, answers: Answers) -> Tensor:
    """The gradient in the logits of what some rows add to the mean loss.

    Args:
        logits: of these rows, without a graph, [n_i, L] or [n_i, A, L].
        y: their answers, [n_i] or [n_i, A].
        total: how many answers of the whole batch count.
        answers: which of them count.
    """
    rows = logits.flatten(0, -2)
    logs = kernels.log_softmax(rows)
    d = kernels.nll_part_backward(logs, answers.targets(y.flatten()), total)
    d = kernels.log_softmax_backward(d, logs)
    return d if rows is logits else d.view_as(logits)


def joined(
    parameters: Sequence[Tensor], of_parts: Sequence[Sequence[Tensor]], found: Sequence[Sequence[Tensor]]
) -> list[Tensor]:
    """The gradients of a model in the order of its parameters, from those of its lower and its upper part.

    Args:
        parameters: of the model.
        of_parts: the parameters of the parts; one that is in both gets the sum of its gradients.
        found: the gradients of the parts.

    Raises:
        KeyError: a parameter is in no part.
    """
    gradients: dict[int, Tensor] = {}
    for own, theirs in zip(of_parts, found, strict=True):
        for parameter, gradient in zip(own, theirs, strict=True):
            before = gradients.get(id(parameter))
            gradients[id(parameter)] = gradient if before is None else before + gradient
    return [gradients[id(parameter)] for parameter in parameters]


class OrderedSum:
    """A sum over nodes in their order, whatever the order in which their answers arrive.

    Sums of floating point numbers depend on their order, so an answer that is early waits for its turn. All
    sums of one object are in the same memory, as answers to one question have the same shapes.

    Args:
        nodes: who will answer, ascending.
    """

    def __init__(self, nodes: Sequence[int] = ()) -> None:
        self._early: dict[int, list[Tensor]] = {}
        self._sum: list[Tensor] = []
        self.begin(nodes)

    def begin(self, nodes: Sequence[int]) -> None:
        """The next sum.

        Args:
            nodes: who will answer, ascending.
        """
        self._nodes, self._next = nodes, 0
        self._early.clear()

    def put(self, node: int, tensors: list[Tensor]) -> None:
        """The answer of a node. It is copied, so its memory may be used again.

        Raises:
            ValueError: the node has answered already, or was not asked.
        """
        if self._next < len(self._nodes) and node == self._nodes[self._next]:
            self._add(tensors)
        elif node not in self._nodes[self._next :] or node in self._early:
            raise ValueError(f"node {node} was not asked, or has answered already")
        else:
            self._early[node] = [tensor.clone() for tensor in tensors]
        while self._early and self._nodes[self._next] in self._early:
            self._add(self._early.pop(self._nodes[self._next]))

    def _add(self, tensors: list[Tensor]) -> None:
        first, found = not self._next, self._sum
        self._next += 1
        if first and not found:
            found = self._sum = _room_for(tensors)
        if isinstance(found, Gradients) and isinstance(tensors, Gradients):
            (found.vector.copy_ if first else found.vector.add_)(tensors.vector)
        # Below the cut, all parameters may be frozen ones.
        elif tensors:
            (torch._foreach_copy_ if first else torch._foreach_add_)(found, tensors)

    def total(self) -> list[Tensor]:
        """The sum; it is there until an answer of the next one comes.

        Raises:
            ValueError: a node has not answered.
        """
        if self._next < len(self._nodes):
            raise ValueError(f"node {self._nodes[self._next]} has not answered")
        return self._sum


def _room_for(tensors: list[Tensor]) -> list[Tensor]:
    if isinstance(tensors, Gradients):
        return Gradients(tensors)
    return [torch.empty_like(tensor) for tensor in tensors]
