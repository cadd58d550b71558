"""SCAFFOLD: federated averaging with control variates (Karimireddy et al., ICML 2020, arXiv 1910.06378,
algorithm 1, option II).

    local step of client i    x <- x - lr ( grad f_i(x) - c_i + c )
    c_i+  = c_i - c + (w(t) - h_i(t)) / (K_i lr)         the mean of the client's gradients on its way
    w(t+1) = w(t) + g 1/|S| sum_{i in S} (h_i(t) - w(t))
    c     <- c + 1/n sum_{i in S} (c_i+ - c_i)           so c stays the mean of all c_i

The control variates c_i and c start at 0; K_i is the number of the client's local steps. The shift c - c_i
takes the difference between the client's gradient and the mean gradient out of each step, so the clients do
not drift apart, and those that do not take part are not forgotten. Both messages hold two vectors: w and c
go to a client, h_i and c_i+ - c_i come back. c_i is remembered by its client.

The local optimiser is SGD without momentum, whose steps the formula of c_i+ takes for granted. A round
without a learning rate leaves the control variates as they are.

Plain form: :class:`dml.algorithms.reference.Scaffold`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms import federated
from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.federated import Federated, ServerOptions, admits
from dml.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dml.training.config import TrainingConfig
    from dml.training.correction import Correction


class Scaffold(Federated):
    """FedAvg with control variates.

    Args:
        setup: with :class:`ServerOptions`.

    Attributes:
        c: the mean control variate, [parameters].
        own: c_i of each client that lives here, [rows, parameters].
        shift: c - c_i of those that take part in the round, as they know c, [k, parameters].
        rates: the sum of the learning rates of their local steps, K_i lr, [k, 1].
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        rows = len(setup.X)
        self.c = setup.exchange.alike(setup.X.new_zeros(self._trained))
        self.own = setup.X.new_zeros(rows, self._trained)
        self._shifts = setup.X.new_zeros(rows, self._trained)
        self.shift = self._shifts
        pace = np.ones(rows) if setup.pace is None else setup.pace[setup.exchange.here]
        self._pace = self.rates = setup.X.new_tensor(pace)[:, None]

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """The server sends its model, and what clients need to know of c."""
        import torch

        super().before(X, t, taking_part)
        self.shift = self.room()
        for part in self.parts:
            torch.sub(self.known(part), self.own[self.rows, part], out=self.shift[:, part])

    def room(self) -> "Tensor":
        """Where the shifts of the round are written, [k, parameters]."""
        return self._shifts[: int(self.here.sum())]

    def known(self, part: slice) -> "Tensor":
        """c in some columns, as each client of the round knows it, [k or 1, columns]."""
        return self.c[None, part]

    def _sent(self, width: int) -> int:
        return width + self._trained

    def correction(self) -> "Correction":
        """c - c_i."""
        from dml.training.correction import Correction

        return Correction(self.shift)

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Every row becomes w(t + 1)."""
        self.rates = lr * self._pace[self.rows]
        super().after(X, t, lr)

    def learned(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """Replaces c_i of the clients in some columns, and returns by how much, [k, columns].

        Args:
            h: their half steps there, [k, columns].
            part: the columns.
            lr: 0 if nothing was learned.
        """
        if not lr:
            return h.new_zeros(h.shape)
        change = (self.w[part] - h).div_(self.rates).sub_(self.c[part])
        self.own[self.rows, part] += change
        return change

    def _answered(self, width: int) -> int:
        return width + self._trained

    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """w + g mean (h - w), and the next c."""
        change = self._server.carry(self.learned(h, part, lr))
        self.c[part] += change.sum(0) / len(self.clients)
        return self._towards(self._server.carry(h).mean(0), part)

    def memory(self) -> dict[str, "Tensor"]:
        """c, [parameters], and all c_i, [n, parameters]."""
        return {"variate": self.c, "own_variates": self.own}


def requires(training: "TrainingConfig") -> None:
    """Clients start at the server's model, and take plain steps of SGD.

    Raises:
        InputError: they do not.
    """
    federated.requires(training)
    right = "must be {} for control variates, which are the means of plain SGD's gradients"
    if training.train and training.optimizer != "sgd":
        raise InputError("optimizer", training.optimizer, right.format("sgd"))
    if training.train and training.momentum:
        raise InputError("momentum", training.momentum, right.format("0"))


def memory(n: int, m: int, lossy: bool) -> int:
    """Models' worth of memory: c_i, the shifts of a round, w and c."""
    return 2 * n + 2


DEFAULTS = {"init": "same", "optimizer": "sgd", "momentum": 0.0}
"""What :func:`requires` asks for."""

ALGORITHM = Algorithm(
    about="fedavg with control variates, so that clients do not drift apart",
    make=Scaffold,
    options=ServerOptions,
    participation=True,
    vectors=2,
    memory=memory,
    admits=admits,
    requires=requires,
    defaults=DEFAULTS,
    unread=frozenset({"prox_coeff"}),
)
