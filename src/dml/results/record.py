"""What an experiment has measured so far, in memory; files are written from it and read into it."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dml.training.evaluate import Scores

METRICS = (
    "train_loss", "train_acc", "test_loss", "test_acc", "ood_loss", "ood_acc", "ood_asr",
)  # fmt: skip
EVALUATED = METRICS[2:]
"""Those that an evaluation gives, of each node's model and of the mean model."""
PER_CLASS = ("tp", "support", "predicted")
FINAL = -1
"""The epoch of the row that is measured after the last aggregation."""


@dataclass
class Record:
    """Rows of measurements, and what each round cost.

    Args:
        edge_bytes: over each edge in both directions, summed over the rounds, [m, 2].
        round, epoch: of each row, counted from 0; epoch -1 is the row after the last aggregation.
        metrics: by name, a list of [n] float32 rows.
        per_class: by name, a list of [n, L] int32 rows.
        mean_model: what the average of all nodes' models reaches, by name a list of one number a row; empty
            where it was never measured.
        bytes_sent: by each node, one [n] row a round.
        round_s: wall time of each round in seconds, its measurements included.
    """

    edge_bytes: NDArray[np.int64]
    round: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)
    metrics: dict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: {m: [] for m in METRICS})
    per_class: dict[str, list[NDArray[np.int32]]] = field(default_factory=lambda: {p: [] for p in PER_CLASS})
    mean_model: dict[str, list[float]] = field(default_factory=dict)
    bytes_sent: list[NDArray[np.int64]] = field(default_factory=list)
    round_s: list[float] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """Rounds that have been done."""
        return len(self.round_s)

    def add(
        self,
        number: int,
        epoch: int,
        train_loss: NDArray[np.float32],
        train_acc: NDArray[np.float32],
        scores: "Scores",
    ) -> None:
        """Adds a row."""
        self.round.append(number)
        self.epoch.append(epoch)
        self.metrics["train_loss"].append(train_loss)
        self.metrics["train_acc"].append(train_acc)
        for name in EVALUATED:
            self.metrics[name].append(getattr(scores, name))
        for name, values in scores.more.items():
            # Rows from before a metric was there: not measured.
            earlier = [np.full_like(values, np.nan)] * (len(self.round) - 1)
            self.metrics.setdefault(name, earlier).append(values)
        for name, value in scores.mean_model.items():
            self.mean_model.setdefault(name, [math.nan] * (len(self.round) - 1)).append(value)
        for name in PER_CLASS:
            self.per_class[name].append(getattr(scores, name))

    def add_round(self, sent: NDArray[np.int64], edges: NDArray[np.int64], seconds: float) -> None:
        """Closes a round."""
        self.bytes_sent.append(sent)
        self.edge_bytes = self.edge_bytes + edges
        self.round_s.append(seconds)

    def keep(self, rounds: int, every: int | None, edge_bytes: NDArray[np.int64]) -> None:
        """Goes back to the state after some rounds, to go on from there.

        The row after the last aggregation is dropped, and so are rows that were measured only because their
        round was the last one asked for.

        Args:
            rounds: how many to keep.
            every: rounds between measurements, or None for every epoch.
            edge_bytes: what had been sent over each edge by then, [m, 2].
        """
        rows = [
            row
            for row, (number, epoch) in enumerate(zip(self.round, self.epoch, strict=True))
            if epoch != FINAL and number < rounds and (every is None or (number + 1) % every == 0)
        ]
        self.round = [self.round[row] for row in rows]
        self.epoch = [self.epoch[row] for row in rows]
        self.metrics = {name: [v[row] for row in rows] for name, v in self.metrics.items()}
        self.per_class = {name: [v[row] for row in rows] for name, v in self.per_class.items()}
        self.mean_model = {name: [v[row] for row in rows] for name, v in self.mean_model.items()}
        del self.bytes_sent[rounds:], self.round_s[rounds:]
        self.edge_bytes = edge_bytes

    def means(self, name: str) -> NDArray[np.float64]:
        """Mean over the nodes of a metric at each row that an AUC counts, [rows]; empty without rows."""
        rows = [
            np.mean(v, dtype=np.float64)
            for v, e in zip(self.metrics[name], self.epoch, strict=True)
            if e != FINAL
        ]
        return np.array(rows)

    def consensus_distance(self) -> float:
        """Root of the mean square over the nodes at the last row; NaN where it was not measured."""
        rows = self.metrics.get("consensus_distance")
        return float(np.sqrt(np.mean(np.square(rows[-1], dtype=np.float64)))) if rows else math.nan

    def final_mean_model(self, kind: str) -> float:
        """Accuracy of the mean model at the last row, of ``test`` or ``ood``.

        NaN where its loss is not finite, as it then answers class 0 to all.
        """
        accuracy, loss = self.mean_model[f"{kind}_acc"][-1], self.mean_model[f"{kind}_loss"][-1]
        return accuracy if math.isfinite(loss) else math.nan

    def auc(self, name: str) -> float:
        """Sum over the rows, local epochs alone, of the mean over the nodes (as published)."""
        return float(self.means(name).sum())


def first_difference(a: Record, b: Record) -> tuple[int, int] | None:
    """The first (round, epoch) that both have measured, and in which their test losses differ.

    The row after the last aggregation does not count: it belongs to the number of rounds asked for.
    """
    losses = [
        dict(zip(zip(r.round, r.epoch, strict=True), r.metrics["test_loss"], strict=True)) for r in (a, b)
    ]
    for key in sorted(losses[0].keys() & losses[1].keys()):
        if key[1] != FINAL and not np.array_equal(losses[0][key], losses[1][key], equal_nan=True):
            return key
    return None
