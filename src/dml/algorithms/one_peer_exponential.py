"""One-peer exponential averaging, published as SGP with a time-varying graph (Assran et al. 2019).

In exchange s, every node averages with one other, 2^(s mod D) places back, where D = ceil(log2 n):

    x_i <- ( h_i + h_{(i - 2^(s mod D)) mod n} ) / 2

It ignores the edges of the graph. Each exchange is doubly stochastic, and if n is a power of two, log2 n of
them give every node the exact mean (Ying et al., NeurIPS 2021, arXiv 2110.13363).

Plain form: :class:`dml.algorithms.reference.OnePeerExponential`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from dml.algorithms import weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.options import Options
from dml.algorithms.rule import Rule, prefixed

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

    from dml.exchange.exchange import Averages, Exchange

MAX_EXCHANGES = 1000
"""The largest number of exchanges per round; ceil(log2 n) already bring all models together."""


class OnePeerOptions(Options):
    """How often nodes exchange."""

    exchanges: int = Field(
        1,
        ge=1,
        le=MAX_EXCHANGES,
        description="exchanges per round of one_peer_exponential, or after each update of async_gossip",
    )


def offsets(n: int) -> list[int]:
    """1, 2, 4, ... below n."""
    return [1 << k for k in range((n - 1).bit_length())]


class OnePeerExponential(Rule):
    """One peer per exchange.

    Args:
        exchange: over which models go.
        peers: for each offset, the mean with the node that many places back.
        exchanges: how many a round makes.
    """

    def __init__(self, exchange: "Exchange", peers: "Sequence[Averages]", exchanges: int = 1) -> None:
        super().__init__(exchange)
        self._peers, self._exchanges = peers, exchanges

    def after(self, X: "Tensor", t: int, lr: float) -> None:
        """X <- the mean with a peer, as often as there are exchanges."""
        for step in range(t * self._exchanges, (t + 1) * self._exchanges):
            self._peers[step % len(self._peers)](X, step)

    def memory(self) -> dict[str, "Tensor"]:
        """The last messages that arrived, for each offset."""
        return {
            name: tensor
            for k, average in enumerate(self._peers)
            for name, tensor in prefixed(f"peer{k}_", average.memory()).items()
        }


def make(setup: Setup) -> Rule:
    """The means with peers at distances of powers of two."""
    assert isinstance(setup.options, OnePeerOptions)
    exchange, n = setup.exchange, setup.topology.n
    peers = [exchange.average(_with_peer(n, offset), setup.loss_rule, offset=offset) for offset in offsets(n)]
    return OnePeerExponential(exchange, peers, setup.options.exchanges)


def _with_peer(n: int, offset: int) -> "csr_array":
    """The mean of each node and the one that is ``offset`` places back."""
    import numpy as np
    from scipy.sparse import csr_array, eye_array

    nodes = np.arange(n)
    peer = csr_array((np.ones(n), (nodes, (nodes - offset) % n)), shape=(n, n))
    return ((peer + eye_array(n)) / 2).tocsr()


ALGORITHM = Algorithm(
    about="the mean with one other node per exchange, at distances 1, 2, 4, ...",
    make=make,
    options=OnePeerOptions,
    loss_rules=weights.GOSSIP_RULES,
    offsets=offsets,
    memory=lambda n, m, lossy: n * (n - 1).bit_length() if lossy else 0,
    defaults=STEPPING,
    unread=frozenset({"prox_coeff"}),
)
