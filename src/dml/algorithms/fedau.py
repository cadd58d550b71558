"""FedAU: clients that take part seldom count for more (Wang, Ji, ICLR 2024, arXiv 2306.03401, algorithm 2).

    w(t+1) = w(t) + g 1/n sum_{i in S} omega_i ( h_i(t) - w(t) )

omega_i, an estimate of 1 over the probability that i takes part, is the mean of the gaps between the rounds
in which it did: a gap ends with a round in which i takes part, or when it is K rounds long
(``--longest_gap``). omega_i is 1 until the first gap has ended, and only rounds before t count in round t.
With all clients in every round it is FedAvg.

Plain form: :class:`dml.algorithms.reference.FedAU`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.federated import Federated, ServerOptions, admits, requires
from dml.field_types import MAX_COUNT

if TYPE_CHECKING:
    from torch import Tensor


class FedAUOptions(ServerOptions):
    """What all algorithms with a server have, and K."""

    longest_gap: int = Field(
        50, ge=1, le=MAX_COUNT, description="rounds after which fedau ends a gap between two participations"
    )


class FedAU(Federated):
    """FedAvg with weights for how often clients take part.

    Args:
        setup: with :class:`FedAUOptions`.
    """

    def __init__(self, setup: Setup) -> None:
        import torch

        super().__init__(setup)
        assert isinstance(setup.options, FedAUOptions)
        self._longest, n = setup.options.longest_gap, setup.topology.n
        # Of each client: rounds of all ended gaps, how many have ended, and rounds since the last one did.
        self._gaps = setup.exchange.alike(torch.zeros(3, n, dtype=torch.int64))

    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """w + g/n sum omega (h - w)."""
        weights = h.new_tensor(self.weights()[self.exchange.here][self.here])[:, None]
        change = self._server.carry((h - self.w[part]).mul_(weights))
        return self.w[part] + change.sum(0) * (self.server_lr / len(self.clients))

    def weights(self) -> NDArray[np.float64]:
        """omega of each client in this round, [n]."""
        rounds, count, _ = self._gaps.numpy()
        return np.where(count > 0, rounds / np.maximum(count, 1), 1.0)

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Every row becomes w(t + 1); then gaps end, for the rounds to come."""
        super().after(X, t, lr)
        rounds, count, since = self._gaps.numpy()
        since += 1
        ended = self.clients | (since == self._longest)
        rounds[ended] += since[ended]
        count[ended] += 1
        since[ended] = 0

    def memory(self) -> dict[str, "Tensor"]:
        """The gaps, [3, n]."""
        return {"gaps": self._gaps}


ALGORITHM = Algorithm(
    about="fedavg in which clients that take part seldom count for more",
    make=FedAU,
    options=FedAUOptions,
    participation=True,
    convex=False,
    memory=lambda n, m, lossy: 1,
    admits=admits,
    requires=requires,
    defaults={"init": "same"},
    unread=frozenset({"prox_coeff"}),
)
