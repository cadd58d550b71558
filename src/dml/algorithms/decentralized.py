"""Aggregation by a strategy's coefficients: X <- C X (arXiv 2505.11760), and D-PSGD with any of them.

C_ij are the strategy's coefficients over the neighbourhood N(i), with i itself; rows of nodes that do not
take part are rows of I, so such a node keeps its model but is read by others. A message over an edge of
weight p arrives with probability p (1 - drop), drawn for each direction apart. Lost ones are left out of
N(i) in their round (``renormalise``), or count as :mod:`dml.algorithms.lossy` says.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml import mixing
from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rounds import selected
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import BYTES_PER_NUMBER, Traffic
from dml.coefficients.config import StrategyConfig
from dml.coefficients.similarity import cosine_similarity
from dml.coefficients.strategies import STRATEGIES, Context, with_self_weight
from dml.population import Population
from dml.topology import Topology

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RENORMALISE = "renormalise"


class Decentralized(Rule):
    """Each node averages the models of its neighbourhood, by the coefficients of a strategy.

    Args:
        topology: the graph.
        population: the models.
        strategy: which coefficients, and who takes part.
        samples: training samples a node, [n].
        seed: the experiment's seed.
        drop: probability that a message is lost, beside what its edge's weight says.
        loss_rule: one of ``registry.GOSSIP_RULES``.
        exchanges_before: models are also sent at the start of a round, for a proximal term.
        X: the models of the nodes of the graph, [n, P], where these are not all of the population.
    """

    def __init__(
        self,
        topology: Topology,
        population: Population,
        strategy: StrategyConfig,
        samples: NDArray[np.int64],
        seed: int,
        drop: float = 0.0,
        loss_rule: str = RENORMALISE,
        exchanges_before: bool = False,
        X: Tensor | None = None,
    ) -> None:
        self._topology, self._population, self._part = topology, population, X
        self._config, self._strategy = strategy, STRATEGIES[strategy.aggregation_strategy]
        self._samples, self._seed = samples, seed
        self._models = int(self._strategy.exchanges) + exchanges_before
        self._receiver, self._sender, edge = _messages(topology, self._strategy.complete)
        self._own = self._receiver == self._sender
        others = ~self._own
        self._links = Links(topology, self._receiver[others], self._sender[others], edge[others], drop, seed)
        self._remembers: Mixing | None = None
        if loss_rule != RENORMALISE and not self._links.reliable:
            like = population.X if X is None else X
            self._remembers = Mixing(self._of_round, self._links, loss_rule, like)
        # Without lost messages and idle nodes, most strategies give the same matrix in every round.
        self._steady = self._links.reliable and strategy.participation == 1 and strategy.steady
        self._C: csr_array | None = None

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- C X, padding columns and all."""
        if self._C is None or not self._steady:
            taking_part = selected(self._topology.n, self._config.participation, self._seed, t)
            self._C, self._sent = self.coefficients(t, taking_part), self._traffic(taking_part)
        if self._remembers is not None:
            self._remembers(self._models_now, t)
        elif self._part is None:
            self._population.mix(self._C)
        else:
            mixing.mix(self._part, self._C)
        return self._sent

    def coefficients(self, number: int, taking_part: NDArray[np.bool_]) -> "csr_array":
        """C of a round over the links that work, or over all where a rule fills in for the lost, [n, n]."""
        works = self._own.copy()
        lossy = self._remembers is None and not self._links.reliable
        works[~self._own] = self._links.arrived(number) if lossy else True
        receiver, sender, n = self._receiver[works], self._sender[works], self._topology.n
        indptr = np.concatenate([[0], np.cumsum(np.bincount(receiver, minlength=n))])
        softmax = self._config.softmax_at(number)
        ctx = Context(
            self._topology, indptr, sender, number, self._samples, softmax, self._seed, self._similarity
        )
        C = self._strategy.coefficients(ctx)
        if self._config.self_weight is not None:
            C = with_self_weight(C, self._config.self_weight)
        if taking_part.all():
            return C
        from scipy.sparse import diags_array

        takes_part = taking_part.astype(np.float64)
        return (diags_array(takes_part) @ C + diags_array(1 - takes_part)).tocsr()

    def _of_round(self, t: int) -> "csr_array":
        assert self._C is not None, "made before each exchange"
        return self._C

    def _similarity(self, receiver: NDArray[np.int64], sender: NDArray[np.int64]) -> NDArray[np.float64]:
        return cosine_similarity(self._models_now, self._population.tensors, receiver, sender)

    @property
    def _models_now(self) -> Tensor:
        return self._population.X if self._part is None else self._part

    def _traffic(self, taking_part: NDArray[np.bool_]) -> Traffic:
        """Node j sends its model to each taking-part i that would use it, whether or not the link worked."""
        links, edges = self._links, self._topology.edges
        per_edge = np.zeros((len(edges), 2), np.int64)
        if not self._models:
            return Traffic(np.zeros(self._topology.n, np.int64), per_edge)
        size = self._models * self._population.size * BYTES_PER_NUMBER
        used = taking_part[links.receiver]
        sent = np.bincount(links.sender[used], minlength=self._topology.n).astype(np.int64) * size
        on_edge = used & (links.edge >= 0)
        edge, sender = links.edge[on_edge], links.sender[on_edge]
        per_edge[edge, (sender != edges[edge, 0]).astype(np.int64)] = size
        return Traffic(sent, per_edge)

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, where they count in place of lost ones."""
        return {} if self._remembers is None else self._remembers.memory()


def neighbours(topology: Topology, complete: bool) -> list[NDArray[np.int64]]:
    """The other nodes whose models each node may use, n arrays."""
    receiver, sender, _ = _messages(topology, complete)
    others = receiver != sender
    ends = np.cumsum(np.bincount(receiver[others], minlength=topology.n))[:-1]
    return np.split(sender[others], ends)


def _messages(
    topology: Topology, complete: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All (receiver, sender) pairs by receiver, each node's own first-hand model included.

    Returns:
        receiver, sender and the edge between them, [k]; -1 for a node with itself, and for all pairs
        of the complete graph, which are no edges of the topology.
    """
    n, own = topology.n, np.arange(topology.n)
    if complete:
        receiver = np.repeat(own, n)
        return receiver, np.tile(own, n), np.full(n * n, -1)
    i, j = topology.edges[:, 0].astype(np.int64), topology.edges[:, 1].astype(np.int64)
    number = np.arange(len(i))
    receiver = np.concatenate([i, j, own])
    sender = np.concatenate([j, i, own])
    edge = np.concatenate([number, number, np.full(n, -1)])
    order = np.lexsort((sender, receiver))
    return receiver[order], sender[order], edge[order]
