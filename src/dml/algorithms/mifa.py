"""MIFA: a memory of every client's last change (Gu, Huang, Zhang, Huang, NeurIPS 2021, arXiv 2106.04159,
algorithm 1).

    G_i <- ( w(t) - h_i(t) ) / lr   for i in S, and as it was for the others; 0 at the start
    w(t+1) = w(t) - g lr 1/n sum over all i of G_i

A client that does not take part still counts, with what it sent last. G_i is remembered by its client, which
sends the change of it, and the server remembers their mean: one vector each way, whatever n is. (A server
that remembered all G_i itself would get as many.) Divided by lr, a memory stays right when the learning rate
changes; a round without a learning rate leaves it as it is. lr is the sum over the round's local steps.

Plain form: :class:`dml.algorithms.reference.Mifa`.
"""

from typing import TYPE_CHECKING

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.federated import Federated, ServerOptions, admits, requires

if TYPE_CHECKING:
    from torch import Tensor


class Mifa(Federated):
    """FedAvg over the last changes of all clients.

    Args:
        setup: with :class:`ServerOptions`.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._own = setup.X.new_zeros(setup.X.shape)
        self._mean = setup.exchange.alike(setup.X.new_zeros(setup.X.shape[1]))

    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """w - g lr mean G."""
        w = self.w[part]
        if not lr:
            return w
        new = (w - h).div_(lr)
        change = self._server.carry(new - self._own[self.rows, part])
        self._own[self.rows, part] = new
        self._mean[part] += change.sum(0) / len(self.clients)
        return w - self.server_lr * lr * self._mean[part]

    def memory(self) -> dict[str, "Tensor"]:
        """All G_i, [n, P], and their mean, [P]."""
        return {"changes": self._own, "mean": self._mean}


ALGORITHM = Algorithm(
    about="fedavg over the last changes of all clients, also of those that do not take part",
    make=Mifa,
    options=ServerOptions,
    participation=True,
    convex=False,
    memory=lambda n, m, lossy: n + 2,
    admits=admits,
    requires=requires,
    defaults={"init": "same"},
    unread=frozenset({"prox_coeff"}),
)
