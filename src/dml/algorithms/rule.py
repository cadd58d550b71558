"""What every synchronous algorithm is: a rule that ends a round on the population matrix.

One round t, on X [n, P]:

    rule.before(X, t)                X holds x_i(t)
    x_i(t) becomes h_i(t)            any local optimiser, any number of steps: the half step
    rule.after(X, t, lr)             X holds h_i(t) on entry, x_i(t + 1) on exit

X may be a view that leaves padding columns out.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.traffic import Traffic


class Rule(ABC):
    """One algorithm with its memory on nodes and edges.

    Attributes:
        lr_factor: by how much the algorithm moves slower than all-reduce at the same learning rate, since
            it averages models that are old; the learning rate may be this much higher.
    """

    lr_factor: float = 1.0

    def before(self, X: Tensor, t: int) -> None:  # noqa: B027  (most keep nothing)
        """Keeps what the rule needs of x(t), [n, P]."""

    @abstractmethod
    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """Turns the half steps h(t) into x(t + 1), in place.

        Args:
            X: [n, P].
            t: the round, counted from 0.
            lr: the sum of the learning rates of the round's local steps (K lr after K steps).
        """

    def momentum(self) -> Tensor | None:
        """The momentum buffers, [n, P], from which local SGD starts in this round; None: its own."""
        return None

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """What is to be known of the last round beside the models, by the metric's name, [n] each."""
        return {}

    def memory(self) -> dict[str, Tensor]:
        """What the rule remembers from round to round, by name; the tensors themselves."""
        return {}

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the memory, for a checkpoint."""
        return {name: tensor.cpu().numpy().copy() for name, tensor in self.memory().items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Goes on from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        for name, tensor in self.memory().items():
            value = torch.from_numpy(np.asarray(state[name]))
            if value.shape != tensor.shape:
                # Copying it could spread one row over all nodes.
                raise ValueError(f"{name} has the shape {tuple(value.shape)}")
            tensor.copy_(value)


class Kept:
    """x(t) for a rule that writes x(t + 1) here too: X is then copied only where something else changed it.

    Local steps do so between ``before`` and ``after``, unseen by torch's count of changes, as modules'
    parameters are. Whatever changes X between ``after`` and ``before`` must not be unseen.

    Args:
        X: x(0), [n, P].

    Attributes:
        x: [n, P].
    """

    def __init__(self, X: Tensor) -> None:
        self.x = X.clone()
        self._written: tuple[int, int] | None = None

    def keep(self, X: Tensor) -> None:
        """Before the local steps."""
        if self._written != (X.data_ptr(), X._version):
            self.x.copy_(X)

    def written(self, X: Tensor) -> None:
        """After a round whose x(t + 1) was written to both."""
        self._written = X.data_ptr(), X._version


def prefixed(prefix: str, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """The memory of one of several parts."""
    return {f"{prefix}{name}": tensor for name, tensor in memory.items()}
