"""Nodes that fail for good: what is left goes on with the same algorithm, started anew.

Before a round in which nodes fail, the algorithm is built on the graph of the nodes that are left and on
their models as they are then:

    relays take a new tree, all messages are forgotten, and missing values count as these models
    corrections, trackers and momenta of the algorithm start at 0, push-sum's weights at 1

The rows of the living are copied out of X before it and back into X after it; the others stay as they are.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.living import Living
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic
from dml.topology import Topology

Build = Callable[[Topology, Tensor], Rule]
"""The algorithm on a graph and on the models of its nodes."""


class Failing(Rule):
    """An algorithm some of whose nodes fail.

    Args:
        build: the algorithm, on the whole graph and on a part of it.
        living: which nodes live in which round.
        topology: the graph.
        X: what it works on, [n, P]: the matrix itself, since a checkpoint may be from after a failure.
    """

    def __init__(self, build: Build, living: Living, topology: Topology, X: Tensor) -> None:
        self._build, self._living, self._topology, self._X = build, living, topology, X
        self._lives = np.ones(topology.n, bool)
        self._rule = build(topology, X)
        self.lr_factor = self._rule.lr_factor
        self._rows: Tensor | None = None
        self._left = X[:0]
        self._kept = np.arange(topology.m)
        self._momentum: Tensor | None = None

    def _go_on_with(self, lives: NDArray[np.bool_]) -> None:
        nodes = np.flatnonzero(lives)
        part, self._kept = self._topology.part(nodes)
        self._lives, self._rows = lives, torch.from_numpy(nodes).to(self._X.device)
        # What the rule before it has remembered may be as large as all models.
        del self._rule, self._left
        self._left = self._X.index_select(0, self._rows)
        self._rule = self._build(part, self._left)
        self._momentum = None if self._rule.momentum() is None else torch.zeros_like(self._X)

    def before(self, X: Tensor, t: int) -> None:
        """Starts anew where nodes have failed."""
        lives = self._living.at(t)
        if (lives != self._lives).any():
            self._go_on_with(lives)
        if self._rows is None:
            self._rule.before(X, t)
        else:
            self._rule.before(torch.index_select(X, 0, self._rows, out=self._left), t)

    @torch.no_grad()
    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """The next models of those that live; the others' stay."""
        if self._rows is None:
            return self._rule.after(X, t, lr)
        found = self._rule.after(torch.index_select(X, 0, self._rows, out=self._left), t, lr)
        X.index_copy_(0, self._rows, self._left)
        sent = np.zeros(self._topology.n, np.int64)
        edges = np.zeros((self._topology.m, 2), np.int64)
        # The nodes that are left have kept their order, so each edge has its directions.
        sent[self._lives], edges[self._kept] = found.sent, found.edges
        return Traffic(sent, edges)

    def momentum(self) -> Tensor | None:
        """Of those that live; 0 for the others."""
        momentum = self._rule.momentum()
        if self._rows is None or momentum is None or self._momentum is None:
            return momentum
        return self._momentum.index_copy_(0, self._rows, momentum)

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """Of those that live; NaN for the others."""
        found = self._rule.measures()
        if self._rows is None:
            return found
        whole = {name: np.full(self._topology.n, np.nan, np.float32) for name in found}
        for name, values in found.items():
            whole[name][self._lives] = values
        return whole

    def memory(self) -> dict[str, Tensor]:
        """Of the algorithm on what is left."""
        return self._rule.memory()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Which nodes live, [n], and what the algorithm remembers of them."""
        return {"lives": self._lives.copy(), **self._rule.state()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Goes on from what :meth:`state` returned, on either side of a failure; X holds the models."""
        lives = np.asarray(state["lives"], bool)
        if lives.shape != self._lives.shape:
            raise ValueError(f"lives is {lives.shape}")
        if (lives != self._lives).any():
            self._go_on_with(lives)
        self._rule.load_state(state)
