"""SCAFFOLD whose clients send one vector instead of two.

A client sends d_i alone, from which the server knows both c_i+ and h_i:

    d_i   = (w(t) - h_i(t)) / (K_i lr) - c          which is c_i+ - c_i
    w(t+1) = w(t) - g 1/|S| sum_{i in S} K_i lr (d_i + c)
    c     <- c + 1/n sum_{i in S} d_i

But for rounding, the numbers are those of :mod:`dml.algorithms.scaffold`. w and c go to a client, d_i comes
back. The name is that of the published code (github.com/Peyman-gholami/MultiWalk). A round without a learning
rate sends the models instead.

Plain form: :class:`dml.algorithms.reference.HuScaffold`.
"""

from typing import TYPE_CHECKING

from dml.algorithms.algorithm import Algorithm
from dml.algorithms.federated import ServerOptions, admits
from dml.algorithms.scaffold import DEFAULTS, Scaffold, memory, requires

if TYPE_CHECKING:
    from torch import Tensor


class HuScaffold(Scaffold):
    """SCAFFOLD with one vector from each client."""

    def _answered(self, width: int) -> int:
        return width

    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """w - g mean K_i lr (d + c), and the next c."""
        if not lr:
            return self._towards(self._server.carry(h).mean(0), part)
        d, c = self._server.carry(self.learned(h, part, lr)), self.c[part]
        moved = ((d + c) * self._server.carry(self.rates)).mean(0)
        c += d.sum(0) / len(self.clients)
        return self.w[part] - self.server_lr * moved


ALGORITHM = Algorithm(
    about="scaffold whose clients send one vector instead of two",
    make=HuScaffold,
    options=ServerOptions,
    participation=True,
    vectors=2,
    answers=1,
    memory=memory,
    admits=admits,
    requires=requires,
    defaults=DEFAULTS,
    unread=frozenset({"prox_coeff"}),
)
