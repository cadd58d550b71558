"""Models that can also be computed as a sequence of layers, by which they can be cut in two."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from torch import Tensor, nn


class InLayers(nn.Module, ABC):
    """A model whose forward pass is that of a sequence of layers, although it is not written as one.

    A model that is an ``nn.Sequential`` needs nothing of this kind.
    """

    @abstractmethod
    def in_layers(self) -> nn.Sequential | None:
        """The layers, which hold all parameters of the model and no others; None if it has none.

        A parameter that the model uses in several places may be in several layers.
        """


class Layer(nn.Module):
    """A function as a layer.

    Args:
        function: what the layer computes.
        modules: those that it uses.
        parameters: those that it uses besides.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        modules: Iterable[nn.Module] = (),
        parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self._function = function
        self.used, self.own = nn.ModuleList(modules), nn.ParameterList(parameters)

    def forward(self, x: Tensor) -> Tensor:
        """What the function computes."""
        return self._function(x)
