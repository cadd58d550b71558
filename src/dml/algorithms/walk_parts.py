"""Which columns of a model a walk carries from node to node, and which stay at the nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dml.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Parts:
    """The parts of a row of X.

    Args:
        trained: the number of trained parameters, which stand first in a row.
        size: the number of parameters and float buffers, which stand next; the rest is padding.
        cut: the first column of the second part of the parameters; ``trained`` if they are not split.
    """

    trained: int
    size: int
    cut: int

    @property
    def split(self) -> bool:
        """Whether walks go in pairs, each with its part."""
        return self.cut < self.trained

    def of_walk(self, walk: int) -> slice:
        """The parameters that a walk carries and mixes."""
        return slice(self.cut, self.trained) if self.split and walk % 2 else slice(0, self.cut)

    def of_partner(self, walk: int) -> slice:
        """The parameters that it takes from the node instead; none if they are not split."""
        return self.of_walk(walk ^ 1) if self.split else slice(0, 0)

    def numbers(self, walk: int, copies: int, buffers: bool) -> int:
        """How many numbers a walk sends with a hop.

        Args:
            walk: the walk.
            copies: its parameters, and what an optimiser remembers of each: vectors of one size.
            buffers: whether float buffers are sent along; of a pair of walks the first one carries them.
        """
        second = self.split and walk % 2
        own = self.trained - self.cut if second else self.cut
        return copies * own + (self.size - self.trained if buffers and not second else 0)


def cut_at(tensors: "Sequence[tuple[int, torch.Size]]", names: Sequence[str], layer: str | None) -> int:
    """The first column of a layer, where the second part of the parameters begins.

    Args:
        tensors: first column and shape of each trained parameter in a row of X.
        names: of these parameters.
        layer: the name of a parameter, or the beginning of its name up to a dot; None for the last layer,
            that of the last parameter with at least two dimensions.

    Raises:
        InputError: there is no such layer, or nothing is before it.
    """
    if layer is None:
        places = [k for k, (_, shape) in enumerate(tensors) if len(shape) > 1][-1:]
    else:
        places = [k for k, name in enumerate(names) if name == layer or name.startswith(f"{layer}.")][:1]
    if places and places[0]:
        return tensors[places[0]][0]
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    wrong = "begins with the first parameter" if places else "is no layer"
    raise InputError("split_at", layer, f"{wrong}; name one of: {', '.join(layers[1:])}")
