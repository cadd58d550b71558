"""D2 (Tang, Lian, Yan, Zhang, Liu, ICML 2018, arXiv 1803.07068), with a learning rate that may change.

    x(t+1) = W ( h(t) + lr(t) c(t) )
    c(t+1) = ( x(t+1) - h(t) ) / lr(t),   c(0) = 0

At a constant learning rate this is the published x(t+1) = W ( x(t) + h(t) - h(t-1) ), whose first round is
that of D-PSGD. The differences between the nodes' gradients cancel, so heterogeneous data leave no distance
to the optimum. The sum of all c stays 0. A round without a learning rate leaves c as it is.

The eigenvalues l of W decide whether D2 runs: the disagreement along l has the factor z with
z^2 = 2 l z - l, whose modulus is below 1 for -1/3 < l < 1. On an even ring with Metropolis-Hastings weights,
the least eigenvalue is exactly -1/3.

Plain form: :class:`dml.algorithms.reference.D2`.
"""

from typing import TYPE_CHECKING

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import Rule, prefixed
from dml.errors import InputError
from dml.topology import Topology, averaging, spectrum

if TYPE_CHECKING:
    from torch import Tensor

    from dml.exchange.exchange import Averages, Exchange


class D2(Rule):
    """D-PSGD with each node's own gradient taken out.

    Args:
        exchange: over which models go.
        average: by W.
        X: x(0), [n, P].
    """

    def __init__(self, exchange: "Exchange", average: "Averages", X: "Tensor") -> None:
        super().__init__(exchange)
        self._average, self._correction = average, X.new_zeros(X.shape)

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- W (H + lr c), then c."""
        import torch

        for part in self._average.chunks(t):
            h, c = X[:, part], self._correction[:, part]
            torch.add(h, c, alpha=lr, out=self._average.space(part))
            mixed = self._average.mixed(part)
            if lr:
                torch.sub(mixed, h, out=c).div_(lr)
            h.copy_(mixed)

    def memory(self) -> dict[str, "Tensor"]:
        """c [n, P], and the last messages that arrived."""
        return {"correction": self._correction, **prefixed("mixing_", self._average.memory())}


def make(setup: Setup) -> Rule:
    """D2 with W of the graph."""
    average = setup.exchange.average(weights.matrix(setup), setup.loss_rule)
    return D2(setup.exchange, average, setup.X)


def admits(topology: Topology, options: EdgeWeight, seed: int) -> None:
    """Refuses a graph whose W has an eigenvalue of -1/3 or less.

    Raises:
        InputError: naming the edge weights that are small enough.
    """
    W = averaging.averaging(topology, options.edge_weight).toarray()
    if not spectrum.admits_d2(W):
        least, below = spectrum.lambda_min(W), spectrum.d2_edge_weight(topology)
        right = f"d2 needs a least eigenvalue above -1/3; that of W on {topology.source} is {least:.4f}"
        right += f": give an edge_weight below {below:.4g}, or take exact_diffusion"
        raise InputError("algorithm", "d2", right)


def memory(n: int, m: int, lossy: bool) -> int:
    """Models' worth of memory: the corrections, and the last messages."""
    return n + weights.last_messages(n, m, lossy)


ALGORITHM = Algorithm(
    about="D-PSGD without the bias of heterogeneous data, on graphs whose W admits it",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    convex=False,
    memory=memory,
    admits=admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
    needs_spectrum=True,
)
