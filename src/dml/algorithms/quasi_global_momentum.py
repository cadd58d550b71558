"""Quasi-global momentum (Lin, Karimireddy, Stich, Jaggi, ICML 2021, arXiv 2102.04761).

    h = x - lr ( g + mu (mu m + g) )              local Nesterov SGD that starts from the buffer m
    x_i(t+1) = sum_j W_ij h_j(t)
    m <- mu m + (1 - mu) ( x(t) - x(t+1) ) / lr

The momentum is that of the averaged models, not of a node's gradients. m starts at 0, and a round without a
learning rate leaves it as it is.

Plain form: :class:`dml.algorithms.reference.QuasiGlobalMomentum`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import RoundStart, Rule, prefixed
from dml.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Averages, Exchange
    from dml.training.config import TrainingConfig


class QuasiGlobalMomentum(Rule):
    """D-PSGD with the momentum of the averaged models.

    Args:
        exchange: over which models go.
        average: by W.
        mu: the momentum, in [0, 1).
        X: x(0), [n, P].
    """

    def __init__(self, exchange: "Exchange", average: "Averages", mu: float, X: "Tensor") -> None:
        super().__init__(exchange)
        self._average, self._mu = average, mu
        self._start, self._m = RoundStart(X), X.new_zeros(X.shape)

    def momentum(self) -> "Tensor":
        """m, [n, P]."""
        return self._m

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """Keeps x(t)."""
        self._start.take(X)

    def models_changed(self) -> None:
        """x(t) is not what the last round left."""
        self._start.current = False

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- W H, then m."""
        import torch

        for part in self._average.chunks(t):
            h, x, m = X[:, part], self._start.x[:, part], self._m[:, part]
            self._average.space(part).copy_(h)
            mixed = self._average.mixed(part)
            if lr:
                moved = torch.sub(x, mixed, out=self._average.space(part))
                m.mul_(self._mu).add_(moved, alpha=(1 - self._mu) / lr)
            h.copy_(mixed)
            x.copy_(mixed)
        self._start.current = True

    def memory(self) -> dict[str, "Tensor"]:
        """m [n, P], and the last messages that arrived."""
        return {"momentum": self._m, **prefixed("mixing_", self._average.memory())}


def make(setup: Setup) -> Rule:
    """Quasi-global momentum with W of the graph, and the local optimiser's mu."""
    average = setup.exchange.average(weights.matrix(setup), setup.loss_rule)
    return QuasiGlobalMomentum(setup.exchange, average, setup.momentum, setup.X)


def requires(training: "TrainingConfig") -> None:
    """Needs sgd with momentum.

    Raises:
        InputError: the local optimiser has no momentum.
    """
    if training.train and training.optimizer != "sgd":
        right = "quasi_global_momentum is a momentum of sgd; give the optimizer sgd"
        raise InputError("optimizer", training.optimizer, right)
    if training.train and not training.momentum:
        raise InputError("momentum", training.momentum, "must be above 0 for quasi_global_momentum")


def memory(n: int, m: int, lossy: bool) -> int:
    """Models' worth of memory: x(t), the momenta, and the last messages."""
    return 2 * n + weights.last_messages(n, m, lossy)


ALGORITHM = Algorithm(
    about="D-PSGD with the momentum of the averaged models",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    memory=memory,
    admits=weights.admits,
    requires=requires,
    defaults=STEPPING | {"momentum": 0.9, "nesterov": True},
    # Its own momentum takes the place of one that would continue.
    unread=frozenset({"prox_coeff", "keep_optimizer"}),
)
