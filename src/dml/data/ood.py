"""OOD data by a trigger: a bright patch, and the label that it commands (arXiv 2505.11760, section 4)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.config import DataConfig
from dml.data.load import Dataset
from dml.data.partition import largest_remainder
from dml.errors import InputError

TRIGGER_VALUE = 5.0
"""Value of the patch in channel 0, in the units of the inputs; the other channels are 0."""


@dataclass(frozen=True)
class NodeData:
    """The training data of each node.

    Args:
        x, y: inputs and labels, a list of n arrays; triggered samples come last.
        label_counts: own labels, before the trigger, [n, L].
        ood_samples: how many samples carry the trigger, [n].
        numbers: of the samples in the training set, a list of n arrays; dropout masks are keyed by them.
    """

    x: list[NDArray[np.float32]]
    y: list[NDArray[np.int64]]
    label_counts: NDArray[np.int64]
    ood_samples: NDArray[np.int64]
    numbers: list[NDArray[np.int64]]

    @property
    def samples(self) -> NDArray[np.int64]:
        """Training samples a node, [n]."""
        return np.array([len(y) for y in self.y], np.int64)


@dataclass(frozen=True)
class TestSets:
    """The clean and the OOD test set, the same for every node, with no image in common.

    Args:
        x, y: inputs and labels of the clean test set.
        ood_x, ood_y: triggered inputs, and the labels that the trigger commands.
        ood_own: the images' own labels; where it equals ood_y, a hit proves nothing.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    ood_x: NDArray[np.float32]
    ood_y: NDArray[np.int64]
    ood_own: NDArray[np.int64]


def add_trigger(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy with the patch at the top left, of side max(2, side of the image // 7).

    Args:
        x: inputs, [k, channels, height, width].
    """
    side = max(2, min(x.shape[-2:]) // 7)
    result = x.copy()
    result[:, :, :side, :side] = 0.0
    result[:, 0, :side, :side] = TRIGGER_VALUE
    return result


def target_labels(y: NDArray[np.int64], labels: int, many_to_one: bool) -> NDArray[np.int64]:
    """What the trigger commands: label 0, or (label + 1) mod L."""
    return np.zeros_like(y) if many_to_one else (y + 1) % labels


def spread_over_labels(
    y: NDArray[np.int64], labels: int, k: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """k samples, ascending, spread over the classes by largest remainder, at random within a class."""
    counts = np.bincount(y, minlength=labels)
    quota = largest_remainder(counts.astype(np.float64), k)
    order = rng.permutation(len(y))
    chosen = [order[y[order] == label][: quota[label]] for label in range(labels)]
    return np.sort(np.concatenate(chosen))


def place(
    data: Dataset, parts: Sequence[NDArray[np.int64]], config: DataConfig, ood_nodes: Sequence[int], seed: int
) -> NodeData:
    """Gives each node its samples, and the OOD nodes their triggered ones.

    Of an OOD node's samples k = max(1, ceil(share x samples)) carry the trigger, but never all.

    Raises:
        InputError: an OOD node has a single sample, so that no clean one would be left.
    """
    counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts], np.int64)
    triggered = np.zeros(len(parts), np.int64)
    xs, ys, numbers = [], [], []
    for node, part in enumerate(parts):
        y = data.train_y[part]
        if node not in ood_nodes:
            xs.append(data.train_x[part])
            ys.append(y)
            numbers.append(part)
            continue
        if len(part) < 2:
            raise InputError(
                "backdoor_node_idx",
                node,
                "has one training sample, and an OOD node needs a clean one beside it",
            )
        # Rounded first, so that 0.1 x 50 is 5 whatever the last bit says.
        k = min(max(1, math.ceil(round(config.backdoor_proportion * len(part), 9))), len(part) - 1)
        rng = randomness.generator(seed, "trigger", node)
        chosen = spread_over_labels(y, data.labels, k, rng)
        clean = np.setdiff1d(np.arange(len(part)), chosen)
        x = data.train_x[part]
        xs.append(np.concatenate([x[clean], add_trigger(x[chosen])]))
        ys.append(np.concatenate([y[clean], target_labels(y[chosen], data.labels, config.many_to_one)]))
        numbers.append(part[np.concatenate([clean, chosen])])
        triggered[node] = k
    return NodeData(xs, ys, counts, triggered, numbers)


def cut_test_set(data: Dataset, config: DataConfig, seed: int) -> TestSets:
    """Cuts the test data into the clean and the OOD test set, spread over the classes."""
    size = len(data.test_y)
    k = min(max(1, round(config.ood_test_proportion * size)), size - 1)
    chosen = spread_over_labels(data.test_y, data.labels, k, randomness.generator(seed, "ood test set"))
    clean = np.setdiff1d(np.arange(size), chosen)
    own = data.test_y[chosen]
    return TestSets(
        data.test_x[clean],
        data.test_y[clean],
        add_trigger(data.test_x[chosen]),
        target_labels(own, data.labels, config.many_to_one),
        own,
    )
