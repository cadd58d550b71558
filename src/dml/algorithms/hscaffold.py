"""SCAFFOLD whose messages hold one vector each way: no control variate is sent.

A client that sees the server's model again estimates c by how far the model has moved since, divided by the
sum of the learning rates of the rounds in between:

    c_i^  = ( w(s) - w(t) ) / ( g sum_{r = s}^{t-1} K lr(r) )     s: the last round in which i took part
    c_i+  = c_i - c_i^ + (w(t) - h_i(t)) / (K_i lr)
    w(t+1) = w(t) + g 1/|S| sum_{i in S} (h_i(t) - w(t))

and takes it for c in its local steps. At first, s is the start, w(0), and in round 0 the estimate is 0.
Rounds in which nobody took part do not count. The name is that of the published code
(github.com/Peyman-gholami/MultiWalk), which moves w by the sum instead of the mean over the clients, and
divides by n instead of the number of rounds in between.

With all clients in every round, the estimate is the mean of the gradients of the round before, as c is. With
few clients it is the mean of few, and it does not hold c_i of the others: w then stops where the clients
agree with their last gradients, which need not be the optimum.

Plain form: :class:`dml.algorithms.reference.HScaffold`.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.federated import ServerOptions, admits
from dml.algorithms.scaffold import DEFAULTS, Scaffold, memory, requires

if TYPE_CHECKING:
    from torch import Tensor


class HScaffold(Scaffold):
    """SCAFFOLD with an estimate of c.

    Args:
        setup: with :class:`ServerOptions`.
    """

    def __init__(self, setup: Setup) -> None:
        import torch

        super().__init__(setup)
        n, X = setup.topology.n, setup.X
        # Models that clients have seen. Those who took part together have seen the same one.
        self._seen = X.new_zeros(n, self._trained)
        self._seen[0] = X[0, : self._trained]
        self._which = torch.zeros(n, dtype=torch.int64)
        # Of the learning rates up to the round in which each client took part last, and up to now.
        self._which = setup.exchange.alike(self._which)
        sums = torch.zeros(n + 1, 1, dtype=torch.float64, device=X.device)
        self._seen, self._sums = setup.exchange.alike(self._seen), setup.exchange.alike(sums)

    def before(self, X: "Tensor", t: int, taking_part: NDArray[np.bool_]) -> None:
        """The clients see the server's model."""
        import torch

        rows, which = np.flatnonzero(taking_part), self._which.numpy()
        seen, one, own = np.unique(which[rows], return_index=True, return_inverse=True)
        rates = self.server_lr * (self._sums[-1] - self._sums[:-1][rows[one]])
        self._per_rate = torch.where(rates > 0, 1 / rates, 0.0).to(X)
        self._sums[:-1][rows] = self._sums[-1]
        # A single one is not copied.
        self._then = _rows(seen, X)
        here = taking_part.copy()
        here[: self.exchange.here.start] = here[self.exchange.here.stop :] = False
        self._own = None if len(seen) == 1 else torch.from_numpy(own[here[rows]]).to(X.device)
        super().before(X, t, taking_part)
        if len(rows):
            # The others have seen fewer models than there are places.
            free = np.setdiff1d(np.arange(len(which)), which[~taking_part])[0]
            self._seen[free], which[rows] = self.w[: self._trained], free

    def room(self) -> "Tensor":
        """That of c_i itself if all clients take part, and know the same estimate.

        c_i+ follows from the shift, so that a matrix less is read and written. After a round without a
        learning rate, c_i is c^ - shift again, up to rounding.
        """
        self._in_place = bool(self.clients.all()) and self._own is None
        return self.own if self._in_place else super().room()

    def known(self, part: slice) -> "Tensor":
        """The estimates of c in some columns, [k or 1, columns]."""
        estimate = (self._seen[self._then, part] - self.w[part]).mul_(self._per_rate)
        if self._own is not None:
            return estimate[self._own]
        self.c[part] = estimate[0]
        return estimate

    def _sent(self, width: int) -> int:
        return width

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """Every row becomes w(t + 1)."""
        super().after(X, t, lr)
        if self.clients.any():
            self._sums[-1] += lr

    def _answered(self, width: int) -> int:
        return width

    def _next(self, h: "Tensor", part: slice, lr: float) -> "Tensor":
        """w + g mean (h - w)."""
        import torch

        shift = self.shift[:, part]
        if lr:
            variates = (self.w[part] - h).div_(self.rates)
            if self._in_place:
                torch.sub(variates, shift, out=shift)
            else:
                self.own[self.rows, part] = variates.sub_(shift)
        elif self._in_place:
            torch.sub(self.c[part], shift, out=shift)
        return self._towards(self._server.carry(h).mean(0), part)

    def memory(self) -> dict[str, "Tensor"]:
        """All c_i, [n, parameters]; the models that were seen, which of them each client saw, and when."""
        return {"own_variates": self.own, "seen": self._seen, "which": self._which, "sums": self._sums}


def _rows(numbers: NDArray[np.int64], like: "Tensor") -> "Tensor | slice":
    """An index of rows; a single one as a slice, which costs no copy."""
    import torch

    if len(numbers) == 1:
        return slice(int(numbers[0]), int(numbers[0]) + 1)
    return torch.from_numpy(numbers).to(like.device)


ALGORITHM = Algorithm(
    about="scaffold that sends no control variates: clients estimate their mean",
    make=HScaffold,
    options=ServerOptions,
    participation=True,
    memory=lambda n, m, lossy: memory(n, m, lossy) + n,
    admits=admits,
    requires=requires,
    defaults=DEFAULTS,
    unread=frozenset({"prox_coeff"}),
)
