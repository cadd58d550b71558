"""Traversal Learning and centralized training on the same batches, one batch of each after the other."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dml.plan import Plan
from dml.progress import Progress
from dml.traversal.messages import Phases
from dml.traversal_scripts.side import Side, Step

Differences = NDArray[np.float64]
"""The largest absolute differences of losses, gradients and parameters, [..., 3]; NaN where one is."""


@dataclass(frozen=True)
class Found:
    """What a comparison has found.

    Args:
        losses: of centralized training, the mean over the samples in each epoch, [epochs].
        differences: in each epoch, over all its batches, [epochs, 3].
        accuracies: on the test set after the last epoch: centralized, and traversal; NaN if the loss is not
            finite.
        plan_sha256: the hash of the first epoch's batches.
        batches: how many there were in all.
        counted: bytes to each node and from it, as counted from the tensors of all messages, [2, n].
        by_formula: the same by the formulas, [2, n].
        on_edges: bytes over the edges of the graph, as an experiment counts them.
        on_edges_by_formula: the same by the formulas, without the messages of the orchestrator to itself.
    """

    losses: NDArray[np.float64]
    differences: Differences
    accuracies: tuple[float, float]
    plan_sha256: str
    batches: int
    counted: NDArray[np.int64]
    by_formula: NDArray[np.int64]
    on_edges: int
    on_edges_by_formula: int

    @property
    def largest(self) -> float:
        """Of all differences; NaN if one is not finite, which is within no tolerance."""
        return float(self.differences.max())

    @property
    def bytes_agree(self) -> bool:
        """Whether all bytes are those of the formulas, of each node by itself."""
        same = np.array_equal(self.counted, self.by_formula)
        return same and self.on_edges == self.on_edges_by_formula


def compare(centralized: Plan, traversal: Plan, epochs: int, float64: bool) -> Found:
    """Trains both.

    Args:
        centralized: an experiment whose rounds are single batches.
        traversal: the same with Traversal Learning, each node by itself, on a star whose centre visits the
            others.
        epochs: how many passes over all samples.
        float64: whether the models are float64 instead of float32.
    """
    dtype = torch.float64 if float64 else torch.float32
    one, other = Side(centralized, dtype), Side(traversal, dtype)
    losses, differences = np.zeros(epochs), np.zeros((epochs, 3))
    by_formula, on_edges = np.zeros((2, traversal.topology.n), np.int64), 0
    with Progress("epoch", epochs) as bar:
        for epoch in range(epochs):
            for _ in range(one.batches):
                left, right = one.step(), other.step()
                losses[epoch] += left.loss * left.rows.sum() / one.samples
                differences[epoch] = np.maximum(differences[epoch], _differences(left, right))
                by_formula += _by_formula(other.phases, right.rows)
                on_edges += int(right.traffic.edges.sum())
            bar.update(epoch + 1, f"largest difference {differences[epoch].max():.1e}")
    return Found(
        losses,
        differences,
        (one.test_accuracy(), other.test_accuracy()),
        str(other.execution.facts()["plan_sha256"]),
        epochs * one.batches,
        np.array([[node.to_node for node in other.nodes], [node.from_node for node in other.nodes]]),
        by_formula,
        on_edges,
        # Every other node is one hop from the centre.
        int(by_formula[:, 1:].sum()),
    )


def _differences(left: Step, right: Step) -> Differences:
    pairs = ((left.gradient, right.gradient), (left.parameters, right.parameters))
    return np.array([abs(left.loss - right.loss), *(float((a - b).abs().max()) for a, b in pairs)])


def _by_formula(phases: Phases, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes to each node and from it in one batch, [2, n]."""
    found: NDArray[np.int64] = sum(
        (np.stack([phase.to_nodes(rows), phase.from_nodes(rows)]) for phase in phases),
        np.zeros((2, len(rows)), np.int64),
    )
    return found
