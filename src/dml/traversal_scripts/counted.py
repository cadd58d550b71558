"""A node of Traversal Learning whose messages are counted as they are, and not by a formula."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.traversal.in_steps import SteppingNode
from dml.traversal.messages import SUMS
from dml.traversal.node import Node
from dml.traversal.three_phases import BlockNode


class CountedNode(Node):
    """Passes everything on to a node, and counts the tensors that it gets and returns.

    Numbers have 4 bytes, whatever they are computed in.

    Args:
        node: the node.

    Attributes:
        to_node: bytes that it was sent.
        from_node: bytes that it has sent.
    """

    # It takes the place of a node, and has none of its parts.
    def __init__(self, node: Node) -> None:
        self._node = node
        self.to_node = self.from_node = 0

    def begin(self, number: int, local: NDArray[np.int64], sizes: list[int]) -> None:
        """Numbers of rows are control bytes, which do not count here."""
        self._node.begin(number, local, sizes)

    def gradients(self, total: int) -> list[Tensor]:
        """The parameters go to the node; gradients and the sums of losses and hits come back."""
        self.to_node += _bytes(self._node.parameters)
        found = self._node.gradients(total)
        self.from_node += _bytes(found) + SUMS
        return found

    def activations(self) -> Tensor:
        """The parameters of the lower part go to the node, and activations come back."""
        self.to_node += _bytes(self._node.parameters)
        found = self._node.activations()
        self.from_node += _bytes([found])
        return found

    def labels(self) -> Tensor:
        """Labels come back, as whole numbers of their own size."""
        found = self._node.labels()
        self.from_node += found.numel() * found.element_size()
        return found

    def keys(self) -> NDArray[np.int64]:
        """Numbers of samples are control bytes, too."""
        return self._node.keys()

    def loss_gradient(self, logits: Tensor, total: int) -> Tensor:
        """Logits go to the node; their gradients and the sums come back."""
        self.to_node += _bytes([logits])
        found = self._node.loss_gradient(logits, total)
        self.from_node += _bytes([found]) + SUMS
        return found

    def lower_gradients(self, gradient: Tensor) -> list[Tensor]:
        """Gradients of activations go to the node, and those of its parameters come back."""
        self.to_node += _bytes([gradient])
        found = self._node.lower_gradients(gradient)
        self.from_node += _bytes(found)
        return found

    def sums(self) -> Tensor:
        """They came with the gradients."""
        return self._node.sums()


class CountedBlockNode(CountedNode):
    """The same for a node that answers in three phases.

    Args:
        node: the node.
    """

    def __init__(self, node: BlockNode) -> None:
        super().__init__(node)
        self._of_blocks = node

    def outputs(self, total: int) -> tuple[Tensor, Tensor]:
        """The parameters go to the node; rows and the sums of losses and hits come back."""
        self.to_node += _bytes(self._of_blocks.parameters)
        found = self._of_blocks.outputs(total)
        self.from_node += _bytes(found) + SUMS
        return found

    def second_block(self, gradient: Tensor) -> list[Tensor]:
        """Gradients of outputs go to the node, and that of the weights comes back."""
        return self._answered(gradient, self._of_blocks.second_block(gradient))

    def first_block(self, gradient: Tensor) -> list[Tensor]:
        """The same for the first block."""
        return self._answered(gradient, self._of_blocks.first_block(gradient))

    def _answered(self, gradient: Tensor, found: list[Tensor]) -> list[Tensor]:
        self.to_node += _bytes([gradient])
        self.from_node += _bytes(found)
        return found


class CountedSteppingNode(CountedNode):
    """The same for a node that stops at batch norms.

    Args:
        node: the node.
    """

    def __init__(self, node: SteppingNode) -> None:
        super().__init__(node)
        self._stepping = node

    def up(self, received: Tensor | None = None) -> Tensor | None:
        """The parameters or statistics of the batch go to the node, and its own statistics come back."""
        self.to_node += _bytes(self._stepping.parameters if received is None else [received])
        return self._sent(self._stepping.up(received))

    def activations(self) -> Tensor:
        """Activations come back."""
        found = self._stepping.activations()
        self.from_node += _bytes([found])
        return found

    def turn(self, gradient: Tensor) -> Tensor | None:
        """Gradients of activations go to the node, and its sums come back."""
        self.to_node += _bytes([gradient])
        return self._sent(self._stepping.turn(gradient))

    def turn_at_loss(self, total: int) -> Tensor | None:
        """The sums come back; those of losses and hits follow with the gradients."""
        self.from_node += SUMS
        return self._sent(self._stepping.turn_at_loss(total))

    def down(self, received: Tensor) -> Tensor | None:
        """Means over the batch go to the node, and its sums come back."""
        self.to_node += _bytes([received])
        return self._sent(self._stepping.down(received))

    def found(self) -> list[Tensor]:
        """The gradients come back."""
        found = self._stepping.found()
        self.from_node += _bytes(found)
        return found

    def _sent(self, found: Tensor | None) -> Tensor | None:
        self.from_node += _bytes([] if found is None else [found])
        return found


def counted(node: Node) -> CountedNode:
    """A node whose messages are counted."""
    if isinstance(node, SteppingNode):
        return CountedSteppingNode(node)
    return CountedBlockNode(node) if isinstance(node, BlockNode) else CountedNode(node)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return BYTES_PER_NUMBER * sum(tensor.numel() for tensor in tensors)
