"""The plain form of stochastic gradient push."""

import numpy as np

from dml.algorithms.reference.plain import Arrived, Models, Neighbours, Plain, all_arrive


class PushSum(Plain):
    """Sums s and weights w; the models are z_i = s_i / w_i.

    s_i <- s_i + h_i - z_i; then node i keeps 1/(1 + d_i) of (s_i, w_i) and sends as much to each of its d_i
    neighbours, and the new (s_i, w_i) is the sum of what it has. Of lost messages: ``hold_last``, an edge
    carries the sum of all shares so far, and its receiver takes up what is new to it; ``self_weight``, the
    sender keeps the share; ``lost``, it is gone.
    """

    def __init__(self, x: Models, neighbours: Neighbours, loss_rule: str = "hold_last") -> None:
        self.neighbours, self.loss_rule = neighbours, loss_rule
        self.sums = np.column_stack([x, np.ones(len(x))])
        self.sent = np.zeros_like(self.sums)
        self.taken_up = {(i, j): np.zeros(x.shape[1] + 1) for i, near in enumerate(neighbours) for j in near}

    def round(self, x: Models, h: Models, lr: float, arrived: Arrived = all_arrive) -> Models:
        """z(t + 1)."""
        self.sums[:, :-1] += h - x
        shares = np.stack([s / (1 + len(near)) for s, near in zip(self.sums, self.neighbours, strict=True)])
        self.sent += shares
        new = shares.copy()
        for i, near in enumerate(self.neighbours):
            for j in near:
                if not arrived(j, i):
                    new[j] += shares[j] if self.loss_rule == "self_weight" else 0
                elif self.loss_rule == "hold_last":
                    new[i] += self.sent[j] - self.taken_up[i, j]
                    self.taken_up[i, j] = self.sent[j].copy()
                else:
                    new[i] += shares[j]
        self.sums = new
        models: Models = new[:, :-1] / new[:, -1:]
        return models
