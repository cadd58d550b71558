"""What every synchronous algorithm is: a rule that ends a round on the matrix of the models.

One round t, on X [n, P]:

    rule.before(X, t, taking_part)   X holds x_i(t)
    x_i(t) becomes h_i(t)            any local optimiser, any number of steps: the half step
    rule.after(X, t, lr)             X holds h_i(t) on entry, x_i(t + 1) on exit

X may be a view that leaves out padding columns. Nothing here imports torch when it is imported, so that the
algorithms can describe themselves to a command line at once.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Exchange
    from dml.exchange.traffic import Traffic
    from dml.training.correction import Correction


class Rule(ABC):
    """One algorithm with its memory on nodes and edges.

    Args:
        exchange: by which it learns about other nodes.

    Attributes:
        lr_factor: how many times slower the algorithm moves than all-reduce at the same learning rate, since
            it averages old models; the learning rate may be higher by this factor.
    """

    lr_factor: float = 1.0

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:  # noqa: B027
        """Keeps what the rule needs of x(t); most rules need nothing.

        Args:
            X: [n, P].
            t: the round, counted from 0.
            taking_part: the nodes that train in this round, and that listen to others, [n].
        """

    @abstractmethod
    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Turns the half steps h(t) into x(t + 1), in place.

        Args:
            X: [n, P].
            t: the round, counted from 0.
            lr: the sum of the learning rates of the round's local steps (K lr after K equal steps); 0 if
                nothing was learned.
        """

    def models_changed(self) -> None:  # noqa: B027
        """Must be called when somebody changes X between ``after`` and the next ``before``."""

    def traffic(self) -> "Traffic":
        """The bytes that were sent since they were last asked for."""
        return self.exchange.take_traffic()

    def momentum(self) -> "Tensor | None":
        """The momentum buffers, [n, P], from which local SGD starts in this round; None for its own."""
        return None

    def correction(self) -> "Correction | None":
        """What is added to the gradients of this round's local steps; None for nothing.

        It has one row for each node that takes part, in the order of the nodes.
        """
        return None

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """What there is to know about the last round besides the models, by the metric's name, [n] each."""
        return {}

    def memory(self) -> dict[str, "Tensor"]:
        """What the rule remembers from round to round, by name; the tensors themselves."""
        return {}

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the memory of all nodes, for a checkpoint."""
        return {name: self.exchange.whole(tensor) for name, tensor in self.memory().items()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        import torch

        self.models_changed()
        with torch.no_grad():
            for name, tensor in self.memory().items():
                value = torch.from_numpy(self.exchange.part(np.asarray(state[name]), tensor))
                if value.shape != tensor.shape:
                    # Copying it could spread one row over all nodes.
                    raise ValueError(f"{name} has the shape {tuple(value.shape)}")
                tensor.copy_(value)


class RoundStart:
    """x(t), the models at the start of a round, for a rule that writes x(t + 1) here as well as into X.

    Such a rule need not copy x(t) again before the next round, unless somebody has changed X in between.

    Args:
        X: x(0), [n, P].

    Attributes:
        x: [n, P].
    """

    _PROBES = 8
    """Columns that are compared to find out whether somebody has changed X without saying so."""

    def __init__(self, X: "Tensor") -> None:
        self.x = X.clone()
        self.current = False
        """Whether x holds what X held after the last round."""

    def take(self, X: "Tensor") -> None:
        """Holds x(t), before the local steps.

        Raises:
            RuntimeError: X has changed since the last round, and nobody has called ``models_changed``.
        """
        if not self.current:
            self.x.copy_(X)
        elif not self._unchanged(X):
            raise RuntimeError("the models were changed between two rounds without rule.models_changed()")
        self.current = False

    def _unchanged(self, X: "Tensor") -> bool:
        step = max(1, X.shape[1] // self._PROBES)
        ours, theirs = self.x[:, ::step], X[:, ::step]
        return bool(((ours == theirs) | (ours != ours)).all())


def prefixed(prefix: str, memory: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The memory of one of several parts, with a prefix before each name."""
    return {f"{prefix}{name}": tensor for name, tensor in memory.items()}
