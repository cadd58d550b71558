"""A forward and a backward pass that stop at each batch norm, where nodes exchange statistics.

The model is traced once into its operations: a layer without batch norm inside is one of them, whatever it
computes. A pass carries them out one by one, each with a small graph of autograd of its own, and backwards in
the opposite order. At a batch norm it hands out what a node sends, and goes on with what it is sent.
"""

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn

from dml.errors import InputError
from dml.traversal.batch_norm import BatchNorm, Normed, is_batch_norm, statistics
from dml.traversal.cut import has_batch_norm
from dml.traversal.parts import Part

Exchanging = Generator[Tensor, Tensor | None, None]
"""Yields what is sent, and gets what is received."""


class _Tracer(fx.Tracer):
    """Looks only into layers that have batch norms inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a layer is one operation."""
        return is_batch_norm(m) or not has_batch_norm(m)


class Steps:
    """The operations of a part of a model, with its batch norms between them.

    Args:
        part: the part.
        name: of the model, for the error.

    Raises:
        InputError: its operations depend on what it computes, or one of them changes its input.

    Attributes:
        part, name: as given.
        operations: in the order of a forward pass.
        norms: the batch norms, in the order in which a forward pass comes to them.
    """

    def __init__(self, part: Part, name: str) -> None:
        self.part, self.name = part, name
        if any(getattr(layer, "inplace", False) for layer in part.module.modules()):
            raise _refused(f"{name} has layers that change their input")
        try:
            graph = _Tracer().trace(part.module)
        # Whatever the forward pass of a model raises when it is given no tensor.
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise _refused(f"the operations of {name} cannot be listed ({why})") from None
        self.operations = list(graph.nodes)
        found = (self.norm(operation) for operation in self.operations)
        self.norms: list[BatchNorm] = [norm for norm in found if norm is not None]

    def norm(self, operation: fx.Node) -> BatchNorm | None:
        """The batch norm that an operation is; None if it is none."""
        if operation.op != "call_module":
            return None
        layer = self.part.module.get_submodule(str(operation.target))
        return layer if is_batch_norm(layer) else None


def _refused(why: str) -> InputError:
    return InputError("visits", "apart", f"{why}, and so cannot stop at batch norm: give together")


@dataclass(frozen=True)
class _Done:
    """An operation that has been carried out.

    Args:
        output: what it has made, with its graph.
        inputs: its inputs that have a gradient, by the operation that they come from.
        parameters: that it uses.
    """

    output: Tensor
    inputs: dict[fx.Node, Tensor]
    parameters: list[Tensor]


class SteppedPass:
    """One pass over the rows of one node.

    Args:
        steps: the operations.
        x: the rows.

    Attributes:
        output: of the part, when the forward pass has ended.
        gradients: of its parameters, when the backward pass has ended.
    """

    output: Tensor
    gradients: list[Tensor]

    def __init__(self, steps: Steps, x: Tensor) -> None:
        self._steps, self._module = steps, steps.part.module
        self._done: dict[fx.Node, _Done] = {}
        self._normed: dict[fx.Node, Normed] = {}
        self._found: dict[int, Tensor] = {}
        self._way = self._forward(x)

    def go_on(self, received: Tensor | None = None) -> Tensor | None:
        """Goes on up to the next batch norm.

        Args:
            received: what all nodes' rows amount to at the last one; None at the start of a way.

        Returns:
            What the node sends there: its statistics on the way forwards, [2 C + 1], and its sums on the way
            back, [2, C]. None at the end of the way.
        """
        try:
            return self._way.send(received)
        except StopIteration:
            return None

    def turn(self, gradient: Tensor) -> Tensor | None:
        """Begins the way back, up to the last batch norm.

        Args:
            gradient: of the loss in the output.
        """
        self._way = self._backward(gradient.to(self.output.dtype))
        return self.go_on()

    def _forward(self, x: Tensor) -> Exchanging:
        values: dict[fx.Node, Any] = {}
        given = False
        for operation in self._steps.operations:
            if operation.op == "placeholder":
                values[operation] = operation.args[0] if given else x.detach()
                given = True
            elif operation.op == "get_attr":
                values[operation] = reduce(getattr, str(operation.target).split("."), self._module)
            elif operation.op == "output":
                self.output = values[operation.all_input_nodes[0]]
            elif norm := self._steps.norm(operation):
                values[operation] = yield from self._norm(operation, norm, values)
            else:
                values[operation] = self._carried_out(operation, values)

    def _norm(
        self, operation: fx.Node, norm: BatchNorm, values: dict[fx.Node, Any]
    ) -> Generator[Tensor, Tensor | None, Tensor]:
        x = values[operation.all_input_nodes[0]]
        received = yield statistics(x)
        assert received is not None
        self._normed[operation] = Normed(norm, x, received)
        return self._normed[operation].output

    def _carried_out(self, operation: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """Carries out one operation, and keeps its graph."""
        inputs: dict[fx.Node, Tensor] = {}
        parameters: list[Tensor] = []
        given = {source: values[source] for source in operation.all_input_nodes}
        for source, value in given.items():
            if isinstance(value, nn.Parameter):
                parameters.append(value)
            elif source in self._done or source in self._normed:
                inputs[source] = given[source] = value.detach().requires_grad_()
        args, kwargs = fx.node.map_arg((operation.args, operation.kwargs), given.__getitem__)
        with self._steps.part.context or nullcontext(), torch.enable_grad():
            if operation.op == "call_module":
                layer = self._module.get_submodule(str(operation.target))
                parameters += layer.parameters()
                output = layer(*args, **kwargs)
            elif operation.op == "call_method":
                output = getattr(args[0], str(operation.target))(*args[1:], **kwargs)
            else:
                assert callable(operation.target)
                output = operation.target(*args, **kwargs)
        if not isinstance(output, Tensor):
            if isinstance(output, list | tuple) and any(isinstance(part, Tensor) for part in output):
                raise _refused(f"an operation of {self._steps.name} makes several tensors")
            return output
        if output.requires_grad:
            trained = [parameter for parameter in parameters if parameter.requires_grad]
            self._done[operation] = _Done(output, inputs, trained)
        return output.detach()

    def _backward(self, gradient: Tensor) -> Exchanging:
        *operations, last = self._steps.operations
        gradients = {last.all_input_nodes[0]: gradient}
        for operation in reversed(operations):
            d = gradients.pop(operation, None)
            if operation in self._normed:
                d = yield from self._back_from_norm(operation, d)
                _add(gradients, operation.all_input_nodes[0], d)
            elif d is not None and operation in self._done:
                done = self._done.pop(operation)
                wanted = [*done.inputs.values(), *done.parameters]
                found = torch.autograd.grad(done.output, wanted, d, allow_unused=True)
                for source, part in zip([*done.inputs, *map(id, done.parameters)], found, strict=True):
                    _add(self._found if isinstance(source, int) else gradients, source, part)
        parameters = self._steps.part.parameters
        if any(id(parameter) not in self._found for parameter in parameters):
            raise RuntimeError("a parameter of the model takes no part in its output")
        self.gradients = [self._found[id(parameter)] for parameter in parameters]

    def _back_from_norm(
        self, operation: fx.Node, d: Tensor | None
    ) -> Generator[Tensor, Tensor | None, Tensor]:
        normed, norm = self._normed.pop(operation), self._steps.norm(operation)
        assert norm is not None
        received = yield normed.sums(torch.zeros_like(normed.output) if d is None else d)
        assert received is not None
        for parameter, part in zip((norm.weight, norm.bias), normed.gradients, strict=True):
            if parameter is not None and parameter.requires_grad:
                _add(self._found, id(parameter), part)
        return normed.back(received)


def _add(gradients: dict[Any, Tensor], key: object, part: Tensor | None) -> None:
    if part is not None:
        gradients[key] = gradients[key] + part if key in gradients else part
