"""The coefficients of an aggregation strategy in each round, as the averaging of models needs them."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.coefficients.config import StrategyConfig
from dml.coefficients.order import order_of_turns
from dml.coefficients.strategies import STRATEGIES, Context, Similarity, with_self_weight
from dml.exchange.links import Links

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dml.topology import Topology


class StrategyCoefficients:
    """The row-stochastic matrix C of each round, [n, n].

    Args:
        topology: the graph.
        links: the links over which models are sent.
        strategy: the strategy and its options.
        headers: scalars that are sent with the models, by name, each [n]; at least ``samples``.
        seed: the experiment's seed.

    Attributes:
        taking_part: whether each node takes part in this round, [n]; the rows of C of all others are those of
            the identity.
        similarity: computes how alike the current models of pairs of nodes are; None if strategies cannot
            see the models.
    """

    def __init__(
        self,
        topology: "Topology",
        links: Links,
        strategy: StrategyConfig,
        headers: Mapping[str, NDArray[np.float64]],
        seed: int,
    ) -> None:
        self._topology, self._config, self._headers, self._seed = topology, strategy, headers, seed
        self._links = links
        self.strategy = STRATEGIES[strategy.aggregation_strategy]
        self.taking_part = np.ones(topology.n, bool)
        self.similarity: Similarity | None = None
        own = np.arange(topology.n)
        receiver, sender = np.concatenate([links.receiver, own]), np.concatenate([links.sender, own])
        # Sort by receiver and then by sender; each node also receives its own model.
        self._order = np.lexsort((sender, receiver))
        self._receiver, self._sender = receiver[self._order], sender[self._order]
        self._steady: csr_array | None = None

    def __call__(self, t: int, arrived: NDArray[np.bool_]) -> "csr_array":
        """The matrix C of a round, over the links whose messages arrive. An unchanged C is the same object.

        Args:
            t: the round.
            arrived: whether the message of each link arrives, [k].
        """
        steady = self._config.steady and arrived.all() and self.taking_part.all()
        if steady and self._steady is not None:
            return self._steady
        C = self._of_round(t, arrived)
        self._steady = C if steady else None
        return C

    @property
    def in_turn(self) -> bool:
        """Whether nodes replace their models one after another."""
        return self._config.aggregation_order != "simultaneous"

    def turns(self, t: int, arrived: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The nodes that aggregate in a round, in the order in which they do so.

        Args:
            t: the round.
            arrived: whether the message of each link arrives, [k].
        """
        order = self._config.aggregation_order
        return order_of_turns(order, self._links, self._seed, t, arrived, self.taking_part)

    def _of_round(self, t: int, arrived: NDArray[np.bool_]) -> "csr_array":
        n = self._topology.n
        works = np.concatenate([arrived, np.ones(n, bool)])[self._order]
        receiver, sender = self._receiver[works], self._sender[works]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(receiver, minlength=n))])
        context = Context(
            self._topology,
            indptr,
            sender,
            t,
            self._headers,
            self._config.options,
            self._seed,
            self.similarity or partial(_nobody_looks, self._config.aggregation_strategy),
        )
        assert self.strategy.coefficients is not None
        C = self.strategy.coefficients(context)
        if self._config.self_weight is not None:
            C = with_self_weight(C, self._config.self_weight)
        if self.taking_part.all():
            return C
        from scipy.sparse import diags_array

        takes_part = self.taking_part.astype(np.float64)
        return (diags_array(takes_part) @ C + diags_array(1 - takes_part)).tocsr()


def _nobody_looks(name: str, receiver: NDArray[np.int64], sender: NDArray[np.int64]) -> NDArray[np.float64]:
    raise AssertionError(f"{name} looks at the models, and there are none")
