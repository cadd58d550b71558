"""The plain forms of RelaySGD and its kin."""

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.reference.plain import Arrived, Models, Neighbours, Plain, all_arrive


class RelaySum:
    """Sums over a tree: of node j's values, node i's total holds the one from distance(i, j) - 1 rounds ago.

    m_{i->j}(t) = s_i(t) + sum over the other neighbours k of i of m_{k->i}(t-1)
    total_i(t)  = s_i(t) + sum over the neighbours j of m_{j->i}(t)

    A counter goes along with each message, so that a node knows how many values its total holds.

    Args:
        tree: the neighbours of each node on the tree.
        keep: what a lost message leaves behind is the one before it; otherwise nothing.
        overlap: totals hold the messages of the round before.
    """

    def __init__(self, tree: Neighbours, keep: bool, overlap: bool = False) -> None:
        self.tree, self.keep, self.overlap = tree, keep, overlap
        edges = [(i, j) for i, near in enumerate(tree) for j in near]
        self.m: dict[tuple[int, int], NDArray[np.float64]] = {edge: np.zeros(1) for edge in edges}
        self.counters = dict.fromkeys(edges, 0)

    def __call__(self, s: Models, arrived: Arrived = all_arrive) -> tuple[Models, NDArray[np.int64]]:
        """The totals, [n, P], and the number of values in each of them, [n, 1]."""
        m, counters = dict(self.m), dict(self.counters)
        for i, j in m:
            others = [k for k in self.tree[i] if k != j]
            if arrived(i, j):
                self.m[i, j] = s[i] + sum(m[k, i] for k in others)
                self.counters[i, j] = 1 + sum(counters[k, i] for k in others)
            elif not self.keep:
                self.m[i, j], self.counters[i, j] = np.zeros(1), 0
        if not self.overlap:
            m, counters = self.m, self.counters
        totals, counts = s.copy(), np.ones((len(s), 1), np.int64)
        for i, near in enumerate(self.tree):
            for j in near:
                totals[i] += m[j, i]
                counts[i] += counters[j, i]
        return totals, counts


class RelayMix(Plain):
    """x_i(t+1) = (1 - c) x_i + mean_j (c x_j + u_j)(t - delay_ij), u = h - x.

    Values that a total does not hold count as c x(0) (``hold_last``, ``x0``), as c x_i (``own``), as the
    node's own value (``half_step``), or not at all (``counts``).

    Args:
        x: x(0), [n, P].
        tree: the neighbours of each node on the tree.
        loss_rule: what values count as that a total does not hold.
        c: the consensus strength.
        overlap: messages travel during the next round.
    """

    def __init__(
        self, x: Models, tree: Neighbours, loss_rule: str = "hold_last", c: float = 0.5, overlap: bool = False
    ) -> None:
        self.x0, self.loss_rule, self.c = x.copy(), loss_rule, c
        self.relay = RelaySum(tree, keep=loss_rule == "hold_last", overlap=overlap)

    def round(self, x: Models, h: Models, lr: float, arrived: Arrived = all_arrive) -> Models:
        """x(t + 1)."""
        n, s = len(x), self.c * x + (h - x)
        totals, counts = self.relay(s, arrived)
        if self.loss_rule == "counts":
            return (1 - self.c) * x + totals / counts
        missing = {"own": self.c * x, "half_step": s}.get(self.loss_rule, self.c * self.x0)
        return (1 - self.c) * x + (totals + (n - counts) * missing) / n


class RelaySGD(RelayMix):
    """x_i(t+1) = mean_j h_j(t - delay_ij): RelayMix with c = 1, whose values are the half steps."""

    def __init__(
        self, x: Models, tree: Neighbours, loss_rule: str = "hold_last", overlap: bool = False
    ) -> None:
        super().__init__(x, tree, loss_rule, c=1.0, overlap=overlap)


class RelaySGDGrad(Plain):
    """x_i(t+1) = x_i(t) + mean_j u_j(t - delay_ij), u = h - x; values that are not there count as 0.

    With ``hold_last`` messages carry the sums of all updates so far, so that the next one brings what was
    lost: x_i(t+1) = x_i(0) + their mean. With ``lost`` it is gone.
    """

    def __init__(self, x: Models, tree: Neighbours, loss_rule: str = "hold_last") -> None:
        self.x0, self.sums = x.copy(), np.zeros_like(x)
        self.holds = loss_rule == "hold_last"
        self.relay = RelaySum(tree, keep=self.holds)

    def round(self, x: Models, h: Models, lr: float, arrived: Arrived = all_arrive) -> Models:
        """x(t + 1)."""
        self.sums += h - x
        if self.holds:
            return self.x0 + self.relay(self.sums, arrived)[0] / len(x)
        return x + self.relay(h - x, arrived)[0] / len(x)
