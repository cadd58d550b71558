"""Where walks go: the next node of each walk, from random numbers that are keyed by walk and step.

A route depends on the seed and the transition matrix only, and never on when its walk moves. So two
experiments whose clocks or algorithms differ have the same routes, and a run that continues from a checkpoint
needs no more than each walk's node and number of steps.
"""

from array import array
from bisect import bisect
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.clock.draws import Draws

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Routes:
    """The next node of each walk.

    Args:
        P: the transition matrix, [n, n].
        seed: the experiment's seed.
    """

    def __init__(self, P: "csr_array", seed: int) -> None:
        self._P, self._draws = P, Draws(seed, "walk")
        # Per node that has been visited: the nodes where a walk may go, and the sums of their probabilities.
        self._tables: dict[int, tuple[array[int], array[float]]] = {}

    def __call__(self, walk: int, step: int, node: int) -> int:
        """The node after a step; the same for the same arguments, whatever was asked before.

        Args:
            walk: the walk's number.
            step: how many steps the walk has taken before this one.
            node: where it is.
        """
        table = self._tables.get(node)
        if table is None:
            table = self._tables[node] = self._table(node)
        nodes, sums = table
        return nodes[bisect(sums, self._draws(walk, step))]

    def path(self, walk: int, start: int, steps: int) -> NDArray[np.int64]:
        """The nodes of a walk after 0, 1, ..., ``steps`` steps, [steps + 1]."""
        found = np.empty(steps + 1, np.int64)
        found[0] = node = start
        for step in range(steps):
            found[step + 1] = node = self(walk, step, node)
        return found

    def _table(self, node: int) -> "tuple[array[int], array[float]]":
        first, last = self._P.indptr[node : node + 2]
        sums = np.cumsum(self._P.data[first:last])
        # All numbers are below 1, and rounding must not leave a gap before it.
        sums[-1] = 1.0
        return array("q", self._P.indices[first:last].astype(np.int64)), array("d", sums)
