"""Exact diffusion (Yuan, Ying, Zhao, Sayed 2019, arXiv 1702.05122): D2 with W' = (W + I) / 2.

    x(t+1) = (W + I)/2 ( x(t) + h(t) - h(t-1) )

All eigenvalues of W' are positive, so it runs on every graph, where D2 does not.

Plain form: :class:`dml.algorithms.reference.ExactDiffusion`.
"""

from typing import TYPE_CHECKING

from dml.algorithms import d2, weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import Rule

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def lazy(W: "csr_array") -> "csr_array":
    """(W + I) / 2."""
    from scipy.sparse import eye_array

    return ((W + eye_array(W.shape[0])) / 2).tocsr()


def make(setup: Setup) -> Rule:
    """D2 with the lazy W of the graph."""
    average = setup.exchange.average(lazy(weights.matrix(setup)), setup.loss_rule)
    return d2.D2(setup.exchange, average, setup.X)


ALGORITHM = Algorithm(
    about="D2 with half the weights, on every graph",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    convex=False,
    memory=d2.memory,
    admits=weights.admits,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
)
