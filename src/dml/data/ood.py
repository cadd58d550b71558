"""OOD data: what an OOD node has beside its clean samples, and the test set that measures it.

- trigger: a bright patch, and the label that it commands (arXiv 2505.11760, section 4);
- heldout_class: the images of a class that no other node has (:mod:`dml.data.placement` gives them out);
- rotated: images turned by 90 degrees, with their own labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

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
        x, y: inputs and labels, a list of n arrays; OOD samples come last.
        label_counts: own labels, before any trigger, [n, L].
        ood_samples: how many samples are OOD, [n].
        index: which training sample of the data set each one is, a list of n arrays.
    """

    x: list[NDArray[np.float32]]
    y: list[NDArray[np.int64]]
    label_counts: NDArray[np.int64]
    ood_samples: NDArray[np.int64]
    index: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Training samples a node, [n]."""
        return np.array([len(y) for y in self.y], np.int64)


@dataclass(frozen=True)
class TestSets:
    """The clean and the OOD test set, the same for every node, with no image in common.

    Args:
        x, y: inputs and labels of the clean test set.
        ood_x, ood_y: OOD inputs, and their labels: those that the trigger commands, else their own.
        ood_own: the images' own labels.
        commanded: ood_y are commanded by a trigger, so that where it equals ood_own a hit proves nothing.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    ood_x: NDArray[np.float32]
    ood_y: NDArray[np.int64]
    ood_own: NDArray[np.int64]
    commanded: bool = True


def add_trigger(
    x: NDArray[np.float32], corner: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
) -> NDArray[np.float32]:
    """A copy with the patch, of side max(2, side of the image // 7), at the top left or where it is told.

    Args:
        x: inputs, [k, channels, height, width].
        corner: first row and first column of each image's patch, [k] both.
    """
    side = trigger_side(x.shape)
    top, left = corner or (np.zeros(len(x), np.int64),) * 2
    rows = (top[:, None] + np.arange(side))[:, None, :, None]
    columns = (left[:, None] + np.arange(side))[:, None, None, :]
    image, channel = np.arange(len(x))[:, None, None, None], np.arange(x.shape[1])[None, :, None, None]
    result = x.copy()
    result[image, channel, rows, columns] = np.where(channel == 0, np.float32(TRIGGER_VALUE), np.float32(0))
    return result


def trigger_side(shape: tuple[int, ...]) -> int:
    """Side of the patch on images of a shape (.., height, width)."""
    return max(2, min(shape[-2:]) // 7)


def random_corners(
    shape: tuple[int, ...], samples: NDArray[np.int64], seed: int, *, test: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each sample's patch begins, keyed by (seed, train or test, sample): rows and columns, [k]."""
    side = trigger_side(shape)
    rows, columns = (
        np.floor(randomness.uniforms(seed, "trigger place", int(test), samples, axis) * (length - side + 1))
        for axis, length in enumerate(shape[-2:])
    )
    return rows.astype(np.int64), columns.astype(np.int64)


def turned_ood(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    samples: NDArray[np.int64],
    labels: int,
    config: DataConfig,
    seed: int,
    *,
    test: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clean inputs and labels as OOD ones.

    Args:
        x, y: inputs and labels.
        samples: which of the training (or test) samples they are, [k].
        labels: number of classes.
        config: the kind of OOD data.
        seed: the experiment's seed.
        test: they are test samples.
    """
    if config.ood_kind == "heldout_class":
        return x, y
    if config.ood_kind == "rotated":
        return np.ascontiguousarray(np.rot90(x, axes=(2, 3))), y
    corner = random_corners(x.shape, samples, seed, test=test) if config.random_bd else None
    return add_trigger(x, corner), target_labels(y, labels, config.many_to_one)


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
    """Gives each node its samples, and the OOD nodes their OOD ones.

    Of an OOD node's samples k = max(1, ceil(share x samples)) carry the trigger, or are rotated, but never
    all; those of a held-out class are OOD as they are.

    Raises:
        InputError: an OOD node has a single sample, so that no clean one would be left.
    """
    counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts], np.int64)
    triggered = np.zeros(len(parts), np.int64)
    xs, ys, index = [], [], []
    for node, part in enumerate(parts):
        y = data.train_y[part]
        if node not in ood_nodes:
            xs.append(data.train(part))
            ys.append(y)
            index.append(part)
            continue
        if config.ood_kind == "heldout_class":
            chosen = np.flatnonzero(y == config.ood_class)
        elif len(part) < 2:
            raise InputError(
                "backdoor_node_idx",
                node,
                "has one training sample, and an OOD node needs a clean one beside it",
            )
        else:
            # Rounded first, so that 0.1 x 50 is 5 whatever the last bit says.
            k = min(max(1, math.ceil(round(config.backdoor_proportion * len(part), 9))), len(part) - 1)
            rng = randomness.generator(seed, "trigger", node)
            chosen = spread_over_labels(y, data.labels, k, rng)
        clean = np.setdiff1d(np.arange(len(part)), chosen)
        x = data.train(part)
        ood_x, ood_y = turned_ood(x[chosen], y[chosen], part[chosen], data.labels, config, seed, test=False)
        xs.append(np.concatenate([x[clean], ood_x]))
        ys.append(np.concatenate([y[clean], ood_y]))
        index.append(np.concatenate([part[clean], part[chosen]]))
        triggered[node] = len(chosen)
    return NodeData(xs, ys, counts, triggered, index)


def cut_test_set(data: Dataset, config: DataConfig, seed: int) -> TestSets:
    """Cuts the test data into the clean and the OOD test set.

    The OOD test set is a share of the images, spread over the classes; of a held-out class, all its images.

    Raises:
        InputError: the test data have no image of the held-out class, or no other.
    """
    size = len(data.test_y)
    if config.ood_kind == "heldout_class":
        chosen = np.flatnonzero(data.test_y == config.ood_class)
        if len(chosen) in (0, size):
            there = "all" if len(chosen) else "none"
            raise InputError("ood_class", config.ood_class, f"{there} of the test images are of this class")
    else:
        k = min(max(1, round(config.ood_test_proportion * size)), size - 1)
        chosen = spread_over_labels(data.test_y, data.labels, k, randomness.generator(seed, "ood test set"))
    clean = np.setdiff1d(np.arange(size), chosen)
    own = data.test_y[chosen]
    ood_x, ood_y = turned_ood(data.test(chosen), own, chosen, data.labels, config, seed, test=True)
    trigger = config.ood_kind == "trigger"
    return TestSets(data.test(clean), data.test_y[clean], ood_x, ood_y, own, commanded=trigger)
