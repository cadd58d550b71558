"""What walks leave at nodes: the parts of models that they do not carry."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dml.algorithms.walk_parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


class Shelves:
    """One shelf per node: the parameters that each pair of split walks has left there, and local buffers.

    Args:
        rows: of X, for each node one per pair of split walks; none if walks are not split. They hold x(0).
        pairs: the number of pairs.
        parts: the parts of a row.
        x0: x(0), [P].
        local: whether float buffers stay at nodes.
        n: the number of nodes.
    """

    def __init__(
        self, rows: "Sequence[Tensor]", pairs: int, parts: Parts, x0: "Tensor", local: bool, n: int
    ) -> None:
        self._rows, self._pairs, self._parts = rows, pairs, parts
        self._columns = slice(parts.trained, parts.size)
        self._buffers = x0[self._columns].repeat(n, 1) if local and parts.size > parts.trained else None

    def __bool__(self) -> bool:
        return bool(self._rows) or self._buffers is not None

    def take(self, walk: int, node: int, row: "Tensor") -> None:
        """Completes the model of a walk, before it is trained at a node.

        Args:
            walk: its number.
            node: where it is.
            row: its model, [P].
        """
        if self._rows:
            columns = self._parts.of_partner(walk)
            row[columns] = self._rows[node * self._pairs + walk // 2][columns]
        if self._buffers is not None:
            row[self._columns] = self._buffers[node]

    def leave(self, walk: int, node: int, row: "Tensor") -> None:
        """Keeps what others need of a model that was trained; the arguments are those of :meth:`take`."""
        if self._rows:
            columns = self._parts.of_walk(walk)
            self._rows[node * self._pairs + walk // 2][columns] = row[columns]
        if self._buffers is not None:
            self._buffers[node] = row[self._columns]

    def state(self) -> dict[str, NDArray[Any]]:
        """The local buffers, [n, count]; the rest is in X."""
        return {} if self._buffers is None else {"local_buffers": self._buffers.cpu().numpy().copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned.

        Args:
            state: with arrays of the right shapes.
        """
        import torch

        if self._buffers is not None:
            self._buffers.copy_(torch.from_numpy(state["local_buffers"]))
