"""Topology-aware decentralized learning (arXiv 2505.11760): train locally, then aggregate.

One round t, on the population matrix X [n, P]:

    1. S = the nodes that take part, max(1, floor(n x participation)) of them, drawn without replacement
    2. x_i <- local epochs on node i's data, for i in S
    3. X <- C X, C_ij being the strategy's coefficients over the neighbourhood N(i) whose links work in
       this round; rows i outside S are rows of I, so such a node keeps its model but is read by others

An edge of weight p works in a round with probability p, drawn for each direction (message i <- j) apart.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.algorithms.traffic import BYTES_PER_NUMBER, Traffic
from dml.coefficients.config import StrategyConfig
from dml.coefficients.similarity import cosine_similarity
from dml.coefficients.strategies import STRATEGIES, Context, with_self_weight
from dml.population import Population
from dml.topology import Topology
from dml.training.engines import Engine

if TYPE_CHECKING:
    from scipy.sparse import csr_array

AfterEpoch = Callable[[int, NDArray[np.float32], NDArray[np.float32]], None]
"""Called after each local epoch with its number, and the nodes' training losses and accuracies [n]."""


class Decentralized:
    """The algorithm, with its links and neighbourhoods.

    Args:
        topology: the graph.
        population: the models.
        engine: trains them locally.
        strategy: which coefficients, and who takes part.
        samples: training samples a node, [n].
        epochs: local epochs a round; 0 trains nothing.
        exchanges_before: models are also sent at the start of a round, for a proximal term.
        seed: the experiment's seed.
    """

    def __init__(
        self,
        topology: Topology,
        population: Population,
        engine: Engine,
        strategy: StrategyConfig,
        samples: NDArray[np.int64],
        epochs: int,
        seed: int,
        exchanges_before: bool = False,
    ) -> None:
        self._topology, self._population, self._engine = topology, population, engine
        self._config, self._strategy = strategy, STRATEGIES[strategy.aggregation_strategy]
        self._samples, self._epochs, self._seed = samples, epochs, seed
        self._models = int(self._strategy.exchanges) + exchanges_before
        self._receiver, self._sender, self._edge = _messages(topology, self._strategy.complete)

    def advance(self, number: int, after_epoch: AfterEpoch) -> Traffic:
        """One round; ``after_epoch`` is called after each local epoch, before the aggregation."""
        selected = self.selected(number)
        self._engine.begin_round()
        for epoch in range(self._epochs):
            after_epoch(epoch, *self._engine.epoch(np.flatnonzero(selected)))
        if self._epochs == 0:
            missing = np.full(self._topology.n, np.nan, np.float32)
            after_epoch(0, missing, missing)
        self._population.mix(self.coefficients(number, selected))
        return self._traffic(selected)

    def selected(self, number: int) -> NDArray[np.bool_]:
        """Who takes part in a round, [n]."""
        n = self._topology.n
        # Rounded first, so that 0.1 x 30 is 3 whatever the last bit says.
        count = max(1, int(round(n * self._config.participation, 9)))
        result = np.zeros(n, bool)
        result[randomness.generator(self._seed, "selected nodes", number).permutation(n)[:count]] = True
        return result

    def coefficients(self, number: int, selected: NDArray[np.bool_]) -> "csr_array":
        """C of a round, [n, n]."""
        from scipy.sparse import diags_array

        n = self._topology.n
        receiver, sender = self._receiver, self._sender
        if not self._strategy.complete and np.any(self._topology.weights < 1):
            draw = randomness.uniforms(self._seed, "link", number, receiver, sender)
            works = (self._edge < 0) | (draw < self._topology.weights[self._edge])
            receiver, sender = receiver[works], sender[works]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(receiver, minlength=n))])
        softmax = self._config.softmax_at(number)
        ctx = Context(
            self._topology, indptr, sender, number, self._samples, softmax, self._seed, self._similarity
        )
        C = self._strategy.coefficients(ctx)
        if self._config.self_weight is not None:
            C = with_self_weight(C, self._config.self_weight)
        if selected.all():
            return C
        takes_part = selected.astype(np.float64)
        return (diags_array(takes_part) @ C + diags_array(1 - takes_part)).tocsr()

    def _similarity(self, receiver: NDArray[np.int64], sender: NDArray[np.int64]) -> NDArray[np.float64]:
        return cosine_similarity(self._population.X, self._population.tensors, receiver, sender)

    def _traffic(self, selected: NDArray[np.bool_]) -> Traffic:
        """Node j sends its model to each taking-part i that would use it, whether or not the link worked."""
        n, edges = self._topology.n, self._topology.edges
        per_edge = np.zeros((len(edges), 2), np.int64)
        if not self._models:
            return Traffic(np.zeros(n, np.int64), per_edge)
        size = self._models * self._population.size * BYTES_PER_NUMBER
        used = selected[self._receiver] & (self._receiver != self._sender)
        sent = np.bincount(self._sender[used], minlength=n).astype(np.int64) * size
        on_edge = used & (self._edge >= 0)
        edge, sender = self._edge[on_edge], self._sender[on_edge]
        per_edge[edge, (sender != edges[edge, 0]).astype(np.int64)] = size
        return Traffic(sent, per_edge)

    def state(self) -> dict[str, NDArray[np.int64]]:
        """What a checkpoint needs beside the models."""
        return {"passes": self._engine.passes}

    def load_state(self, state: dict[str, NDArray[np.int64]]) -> None:
        """Goes on from what :meth:`state` returned."""
        self._engine.passes[:] = state["passes"]


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
