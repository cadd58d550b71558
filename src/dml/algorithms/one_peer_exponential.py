"""One-peer exponential averaging, published as SGP with a time-varying graph (Assran et al. 2019).

In exchange s every node averages with one other, 2^(s mod D) places back, D = ceil(log2 n):

    x_i <- ( h_i + h_{(i - 2^(s mod D)) mod n} ) / 2

It ignores the edges of the graph. Each exchange is doubly stochastic, and where n is a power of two, log2 n
of them give every node the exact mean (Ying et al., NeurIPS 2021, arXiv 2110.13363).
"""

from collections.abc import Sequence

from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Rule, prefixed
from dml.algorithms.traffic import Traffic


def offsets(n: int) -> list[int]:
    """1, 2, 4 .. below n."""
    return [1 << k for k in range((n - 1).bit_length())]


class OnePeerExponential(Rule):
    """One peer an exchange.

    Args:
        peers: for each offset, the mixing of that exchange and its messages.
        exchanges: how many a round makes.
    """

    def __init__(self, peers: Sequence[tuple[Mixing, Links]], exchanges: int = 1) -> None:
        self._peers, self._exchanges = peers, exchanges

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- the mean with a peer, so many times."""
        sent = []
        for step in range(t * self._exchanges, (t + 1) * self._exchanges):
            mixing, links = self._peers[step % len(self._peers)]
            mixing(X, step)
            sent.append(links.traffic(X.shape[1]))
        return sum(sent[1:], start=sent[0])

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, for each offset."""
        return {
            name: tensor
            for k, (mixing, _) in enumerate(self._peers)
            for name, tensor in prefixed(f"peer{k}_", mixing.memory()).items()
        }
