"""How much of a fetched model a node takes over: the factor f of pairwise averaging (``--interpolation``).

A node i that has fetched the model of a peer j sets

    x_i <- f x_j + (1 - f) x_i          c_i <- f c_j + (1 - f) c_i

where c is the clock of a node: the number of its updates, mixed as its model is. With l for the loss of a
node's last update,

    constant     f = F
    clock        f = c_j / (c_i + c_j)
    loss         f = l_i / (l_i + l_j)
    linear       f = S + (E - S) min(c_i / K, 1)
    divergence   f = l_i^2 / (l_i^2 + l_j^2) min(l_i / T, 1)

A quotient 0/0 is 1/2. If l_i is below the divergence threshold D, f is multiplied by l_i / D; D = 0 disables
this. These are the factors of dpwa, in which ``divergence`` was called loss_divergence.

``loss`` goes by the node's own failure: the larger l_i, the more the node takes over. So does the published
code; its README describes the contrary, l_j / (l_i + l_j), by which a good node would copy a bad one.

Headers come from other nodes. A clock or a loss that is negative or not finite gives f = 0, and is counted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """What a node says about its model.

    Args:
        clock: c, the number of its updates, mixed as the model is.
        loss: l, the training loss of its last update.
    """

    clock: float
    loss: float

    @property
    def credible(self) -> bool:
        """Whether both numbers are finite and at least 0."""
        return 0 <= self.clock < math.inf and 0 <= self.loss < math.inf


def _share(a: float, b: float) -> float:
    """a / (a + b) for a, b >= 0, and 1/2 for 0/0; no intermediate result overflows."""
    largest = max(a, b)
    return a / largest / (a / largest + b / largest) if largest else 0.5


def constant(own: Header, peer: Header, *, mixing_weight: float) -> float:
    """f = F, ``--mixing_weight``."""
    return mixing_weight


def clock(own: Header, peer: Header) -> float:
    """f = c_j / (c_i + c_j): the node that has made fewer updates takes over more."""
    return _share(peer.clock, own.clock)


def loss(own: Header, peer: Header) -> float:
    """f = l_i / (l_i + l_j): the node with the higher loss takes over more."""
    return _share(own.loss, peer.loss)


def linear(
    own: Header, peer: Header, *, linear_start: float, linear_end: float, linear_updates: int
) -> float:
    """f = S + (E - S) min(c_i / K, 1): from S to E over the first K updates, then E."""
    return linear_start + (linear_end - linear_start) * min(own.clock / linear_updates, 1.0)


def divergence(own: Header, peer: Header, *, divergence_target: float) -> float:
    """f = l_i^2 / (l_i^2 + l_j^2) min(l_i / T, 1): as ``loss``, but sharper, and less at a low loss."""
    largest = max(own.loss, peer.loss) or 1.0
    share = _share((own.loss / largest) ** 2, (peer.loss / largest) ** 2)
    return share * min(own.loss / divergence_target, 1.0)


@dataclass(frozen=True)
class Method:
    """One way to choose the factor.

    Args:
        factor: ``(own, peer, **options) -> f``.
        reads: the options that it reads.
    """

    factor: Callable[..., float]
    reads: frozenset[str] = frozenset()


METHODS: dict[str, Method] = {
    "constant": Method(constant, frozenset({"mixing_weight"})),
    "clock": Method(clock),
    "loss": Method(loss),
    "linear": Method(linear, frozenset({"linear_start", "linear_end", "linear_updates"})),
    "divergence": Method(divergence, frozenset({"divergence_target"})),
}


class Interpolation:
    """Chooses the factor for each fetched model.

    Args:
        name: of a method.
        threshold: D, the loss below which a node takes over less; 0 for none.
        **options: those that the method reads.

    Attributes:
        refused: how many factors are 0 because a header was not credible.
    """

    def __init__(self, name: str, threshold: float = 0.0, **options: float) -> None:
        self._factor, self._threshold, self._options = METHODS[name].factor, threshold, options
        self.refused = 0

    def __call__(self, own: Header, peer: Header) -> float:
        """f, in [0, 1].

        Args:
            own: of the node that has fetched.
            peer: that came with the model.
        """
        if not (own.credible and peer.credible):
            self.refused += 1
            return 0.0
        f = self._factor(own, peer, **self._options)
        if own.loss < self._threshold:
            f *= own.loss / self._threshold
        return min(max(f, 0.0), 1.0)
