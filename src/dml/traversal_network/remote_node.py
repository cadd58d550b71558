"""A node in another process, as the visits of Traversal Learning see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.network.header import Scalar
from dml.network.message import Message
from dml.traversal.plan import Visit
from dml.traversal.three_phases import BlockNode
from dml.traversal_network.config import name_of
from dml.traversal_network.questions import COUNTING, FIRST, PARAMETERS, QUESTION

if TYPE_CHECKING:
    from dml.traversal_network.fleet import Fleet

T = TypeVar("T")


class UnderWayError(Exception):
    """The question has been asked, and its answer is not waited for yet."""


@dataclass(frozen=True)
class Shapes:
    """What the answers of nodes must be like.

    Args:
        parameters: what a node needs, in its order.
        gradients: for each method that returns gradients of parameters, these parameters.
        sample: what the part below the cut makes of one sample, [1, ...]; None without a cut.
        answers: the answers of one sample, [1, ...].
    """

    parameters: Sequence[Tensor]
    gradients: Mapping[str, Sequence[Tensor]]
    sample: Tensor | None
    answers: Tensor


@dataclass
class Sending:
    """What is to be sent to a node in a batch.

    Args:
        kind: ``parameters`` or ``question``.
        phase: of the visit.
        scalars, tensors: of the message.
    """

    kind: str
    phase: int = 0
    scalars: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class RemoteNode(BlockNode):
    """Passes questions on to a node, and returns its answers.

    A question is asked when its method is called while the fleet asks, which the method ends by
    :class:`UnderWayError`; called again, it waits for the answer.

    Args:
        number: which node it is.
        fleet: of all nodes.
        shapes: of the answers.

    Attributes:
        to_send: all that it is sent in this batch, so that a process that begins anew can be sent it again.
        sent: how many of these its process has been sent.
        begun: which of its processes that is.
        parameters_number: the number of the message with its parameters.
        question: the number and the phase of the last question.
    """

    # It takes the place of a node, and has none of its parts.
    def __init__(self, number: int, fleet: "Fleet", shapes: Shapes) -> None:
        self.number, self.name = number, name_of(number)
        self._fleet, self._shapes = fleet, shapes
        self.to_send: list[Sending] = []
        self.sent, self.begun = 0, -1
        self.parameters_number, self.question = 0, (0, 0)
        self._counted = torch.zeros(2, dtype=torch.float64)
        self._new = self._counted.clone()

    @property
    def parameters(self) -> list[Tensor]:
        """Those that it is sent for each visit."""
        return list(self._shapes.parameters)

    def begin(self, number: int, local: NDArray[np.int64], sizes: list[int]) -> None:
        """Nothing: each visit names its samples."""

    def visit(self, number: int, visit: Visit, parameters: Sending) -> None:
        """Begins a visit.

        Args:
            number: of the pass.
            visit: which samples it is about.
            parameters: what the node computes with.
        """
        self._pass, self._visit = number, visit
        self.to_send, self.sent = [parameters], 0
        self._new = torch.zeros_like(self._counted)

    def keep_sums(self) -> None:
        """Counts the losses and hits of this visit, whose batch has been computed."""
        self._counted += self._new
        self._new = torch.zeros_like(self._counted)

    def sums(self) -> Tensor:
        """Losses and hits over its samples since the last call, [2] float64."""
        found, self._counted = self._counted, torch.zeros_like(self._counted)
        return found.to(self._device)

    @property
    def _device(self) -> torch.device:
        return self._shapes.parameters[0].device

    def _ask(self, method: str, read: Callable[[Message], T], total: int, **tensors: Tensor) -> T:
        """Asks, or waits for the answer.

        Args:
            method: of a node.
            read: takes the tensors out of the answer.
            total: how many answers of the batch count.
            **tensors: the other arguments.
        """
        if self._fleet.asking:
            scalars: dict[str, Scalar | list[Scalar]] = {"method": method, "total": total}
            if method in FIRST:
                scalars["pass"] = self._pass
                tensors["samples"] = torch.from_numpy(self._visit.local)
            self.to_send.append(Sending(QUESTION, len(self.to_send) - 1, scalars, tensors))
            raise UnderWayError

        def read_all(message: Message) -> T:
            found = read(message)
            if method in COUNTING:
                self._new = message.tensor("sums", [2], torch.float64)
            return found

        return self._fleet.answer_of(self, read_all)

    def _like(self, method: str, message: Message) -> list[Tensor]:
        """Gradients of parameters."""
        return [
            message.tensor(str(place), like.shape, like.dtype).to(self._device)
            for place, like in enumerate(self._shapes.gradients[method])
        ]

    def _rows(self, message: Message, name: str, like: Tensor) -> Tensor:
        """A value for each sample, like the value of one sample."""
        shape = [len(self._visit.local), *like.shape[1:]]
        return message.tensor(name, shape, like.dtype).to(self._device)

    def gradients(self, total: int) -> list[Tensor]:
        """The gradient of the whole model."""
        return self._ask("gradients", lambda message: self._like("gradients", message), total)

    def activations(self) -> Tensor:
        """What its lower part makes of its samples; their labels and numbers come along."""

        def read(message: Message) -> Tensor:
            assert self._shapes.sample is not None
            self._labels = self._rows(message, "labels", self._shapes.answers) if self._fleet.labels else None
            self._numbers = self._rows(message, "keys", torch.zeros(1, dtype=torch.int64)).cpu().numpy()
            return self._rows(message, "0", self._shapes.sample)

        return self._ask("activations", read, 0)

    def labels(self) -> Tensor:
        """The answers of these samples."""
        assert self._labels is not None
        return self._labels

    def keys(self) -> NDArray[np.int64]:
        """The numbers of these samples in the training set."""
        return self._numbers

    def loss_gradient(self, logits: Tensor, total: int) -> Tensor:
        """The gradient in the logits of these samples."""

        def read(message: Message) -> Tensor:
            return self._rows(message, "0", logits)

        return self._ask("loss_gradient", read, total, logits=logits)

    def lower_gradients(self, gradient: Tensor) -> list[Tensor]:
        """The gradients of the lower part."""
        return self._back("lower_gradients", gradient)

    def outputs(self, total: int) -> tuple[Tensor, Tensor]:
        """The outputs of the second block, and the gradients in the logits."""

        def read(message: Message) -> tuple[Tensor, Tensor]:
            second, logits = self._shapes.gradients["outputs"]
            return self._rows(message, "0", second), self._rows(message, "1", logits)

        return self._ask("outputs", read, total)

    def second_block(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of the second block's weights."""
        return self._back("second_block", gradient)

    def first_block(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of the first block's weights, and perhaps of its biases."""
        return self._back("first_block", gradient)

    def _back(self, method: str, gradient: Tensor) -> list[Tensor]:
        return self._ask(method, lambda message: self._like(method, message), 0, gradient=gradient)


def sending_of(parameters: Mapping[str, Tensor]) -> Sending:
    """What a node computes with, to be sent."""
    return Sending(PARAMETERS, tensors=parameters)
