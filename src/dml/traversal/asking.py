"""How the nodes that hold samples of a batch are asked for their parts of its gradient."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from dml.traversal.node import Node
from dml.traversal.plan import Visit

T = TypeVar("T")

OfBatch = Callable[[int, Sequence[Visit], int], list[Tensor]]
"""(number of the pass, visits, how many answers count) -> the gradient of a batch."""


class Asking:
    """Asks nodes of this process: each of them computes when its answer is taken."""

    def batch(self, number: int, visits: Sequence[Visit], total: int, of_batch: OfBatch) -> list[Tensor]:
        """The gradient of a batch.

        Args:
            number: of the pass.
            visits: the nodes that hold samples of the batch.
            total: how many answers of the batch count.
            of_batch: computes it by asking the nodes.
        """
        return of_batch(number, visits, total)

    def each(self, question: Callable[..., T], nodes: Iterable[Node], *values: Iterable[Any]) -> Iterator[T]:
        """The answer of each node, in their order.

        Args:
            question: of a node and its values, by a call of one of the node's methods.
            nodes: who is asked.
            values: a value for each node.
        """
        return map(question, nodes, *values)

    def left_out(self) -> list[Visit]:
        """The visits since the last call that could not be made."""
        return []
