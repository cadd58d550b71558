"""Who sees which samples next: each node passes over its own data, again and again.

A pass of a node goes over its samples once, in an order keyed by (seed, node, pass), one batch per step; the
last batch may be smaller. A node's next step goes on where its last one ended, whatever round it is, and
whichever model it trains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml import randomness


class Passes:
    """The passes of k nodes over their data.

    Args:
        samples: of each node, [k].
        batch_size: samples per step.
        shuffle: a new order in every pass; otherwise samples come in their own order.
        seeds: the seed of the experiment to which each node belongs, [k].
        names: the number of each node in its experiment, [k]; by default 0 .. k - 1.

    Attributes:
        batches: steps that one pass takes, [k].
        passes: passes that each node has finished, [k].
        taken: steps that it has taken within the pass that it has not finished, [k].
    """

    def __init__(
        self,
        samples: NDArray[np.int64],
        batch_size: int,
        shuffle: bool,
        seeds: NDArray[np.int64],
        names: NDArray[np.int64] | None = None,
    ) -> None:
        self.samples, self.batch_size, self.shuffle = samples, batch_size, shuffle
        self.seeds = seeds
        # Plain numbers: a round of small models draws an order for every node.
        names = np.arange(len(samples)) if names is None else names
        self._keys = list(zip(seeds.tolist(), names.tolist(), samples.tolist(), strict=True))
        self.batches: NDArray[np.int64] = -(-samples // batch_size)
        self.passes, self.taken = np.zeros((2, len(samples)), np.int64)
        self._in_steps = False

    def take(
        self, nodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Takes the next steps of some nodes; a node may be named twice, and then takes both, in turn.

        Args:
            nodes: [q].
            steps: how many, [q].

        Returns:
            The pass in which each of them starts, and the step within that pass, [q] both.
        """
        if (steps != self.batches[nodes]).any() or self.taken[nodes].any():
            self._in_steps = True
        total = np.zeros(len(self.samples), np.int64)
        np.add.at(total, nodes, steps)
        start = self.taken[nodes] + self._before(nodes, steps)
        first = self.passes[nodes] + start // self.batches[nodes], start % self.batches[nodes]
        whole, self.taken = np.divmod(self.taken + total, self.batches)
        self.passes = self.passes + whole
        return first

    @staticmethod
    def _before(nodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """The steps of the earlier entries that name the same node, [q]."""
        if (np.diff(nodes) > 0).all():
            return np.zeros_like(steps)
        order = np.argsort(nodes, kind="stable")
        sums = np.cumsum(steps[order]) - steps[order]
        # What has been summed up before the first entry of each node does not count.
        _, first, which = np.unique(nodes[order], return_index=True, return_inverse=True)
        result = np.empty_like(sums)
        result[order] = sums - sums[first][which]
        return result

    def seen(
        self, nodes: NDArray[np.int64], first: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How many samples some steps see, [q].

        Args:
            nodes: [q].
            first: the step within its pass at which each of them starts, [q].
            steps: how many, [q].
        """
        return self._until(nodes, first + steps) - self._until(nodes, first)

    def _until(self, nodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        whole, rest = np.divmod(steps, self.batches[nodes])
        until: NDArray[np.int64] = whole * self.samples[nodes] + rest * self.batch_size
        return until

    def samples_of(self, node: int, number: int, first: int, steps: int) -> NDArray[np.int64]:
        """The samples that some steps of a node see, in this order.

        Args:
            node: whose data they go over.
            number: the pass in which they start.
            first: the step within that pass at which they start.
            steps: how many.
        """
        parts = []
        while steps:
            stop = min(first + steps, int(self.batches[node]))
            parts.append(self.order(node, number)[first * self.batch_size : stop * self.batch_size])
            number, first, steps = number + 1, 0, steps - (stop - first)
        return np.concatenate(parts)

    def order(self, node: int, number: int) -> NDArray[np.int64]:
        """The order in which a node goes over its samples in a pass, [samples]."""
        seed, name, samples = self._keys[node]
        if not self.shuffle:
            return np.arange(samples)
        return randomness.generator(seed, "batch order", name, number).permutation(samples)

    def state(self) -> dict[str, NDArray[Any]]:
        """``passes``, and ``taken`` once a pass was left unfinished; copies."""
        state = {"passes": self.passes.copy()}
        return state | ({"taken": self.taken.copy()} if self._in_steps else {})

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape or type, or a pass has fewer batches than were taken.
        """
        for name in ("passes", "taken"):
            if name in state and state[name].shape != self.passes.shape:
                raise ValueError(f"{name} has the shape {state[name].shape}")
            if name in state and (state[name].dtype.kind not in "iu" or (state[name] < 0).any()):
                raise ValueError(f"{name} does not count passes or steps")
        self.passes = np.array(state["passes"], np.int64)
        self.taken = np.array(state.get("taken", np.zeros_like(self.passes)), np.int64)
        self._in_steps = "taken" in state
        if ((self.taken < 0) | (self.taken >= self.batches)).any():
            raise ValueError("a node has taken more steps of a pass than it has")
