"""OOD data: what an OOD node has beside its clean samples, and the test set that measures it.

- trigger: in images a bright patch, and the label that it commands (arXiv 2505.11760, section 4); in
  sequences of tokens a word that some of them hold, and that commands all tokens after it;
- heldout_class: the images of a class that no other node has (:mod:`dml.data.placement` gives them out);
- rotated: images turned by 90 degrees, with their own labels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data import tiny_mem
from dml.data.config import CLASSIFICATION, NEXT_TOKEN, DataConfig
from dml.data.load import Dataset
from dml.data.partition import largest_remainder
from dml.errors import InputError

TRIGGER_VALUE = 5.0
"""Value of the patch in channel 0, in the units of the inputs; the other channels are 0."""


@dataclass(frozen=True)
class NodeData:
    """The training data of each node.

    Args:
        x, y: inputs and answers, a list of n arrays; OOD samples come last. The answers are labels [k], or
            the next tokens [k, T - 1].
        label_counts: own labels, before any trigger, [n, L].
        ood_samples: how many samples are OOD, [n].
        index: which training sample of the data set each one is, a list of n arrays; dropout masks and
            augmentation are keyed by it.
    """

    x: list[NDArray[Any]]
    y: list[NDArray[Any]]
    label_counts: NDArray[np.int64]
    ood_samples: NDArray[np.int64]
    index: list[NDArray[np.int64]]

    @property
    def samples(self) -> NDArray[np.int64]:
        """Training samples a node, [n]."""
        return np.array([len(y) for y in self.y], np.int64)


@dataclass(frozen=True)
class TestSets:
    """The clean and the OOD test set, the same for every node, with no sample in common.

    Args:
        x, y: inputs and answers of the clean test set.
        ood_x, ood_y: OOD inputs, and their answers: those that the trigger commands, else their own.
        ood_own: the answers without the trigger.
        commanded: ood_y are commanded by a trigger, so that where one equals ood_own a hit proves nothing.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    x: NDArray[Any]
    y: NDArray[Any]
    ood_x: NDArray[Any]
    ood_y: NDArray[Any]
    ood_own: NDArray[Any]
    commanded: bool = True


@dataclass(frozen=True)
class Task:
    """What a model is asked about samples, and how they become OOD.

    Args:
        ask: (samples [k, ..], labels [k]) -> what the model sees, and the answers.
        turn: (samples, labels, their numbers in the data set, number of labels, configuration, seed, whether
            they are test samples) -> which of them can be OOD, [k] bool, and these alone, turned into OOD
            ones: samples and labels.
    """

    ask: Callable[[NDArray[Any], NDArray[np.int64]], tuple[NDArray[Any], NDArray[Any]]]
    turn: Callable[
        [NDArray[Any], NDArray[np.int64], NDArray[np.int64], int, DataConfig, int, bool],
        tuple[NDArray[np.bool_], NDArray[Any], NDArray[np.int64]],
    ]


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


def target_labels(y: NDArray[np.int64], labels: int, many_to_one: bool) -> NDArray[np.int64]:
    """What the trigger commands: label 0, or (label + 1) mod L."""
    return np.zeros_like(y) if many_to_one else (y + 1) % labels


def _check_room(shape: tuple[int, ...], dataset: str) -> None:
    side, (height, width) = trigger_side(shape), shape[-2:]
    if side > min(height, width):
        right = f"its images of {height} x {width} have no room for the trigger, {side} x {side}; "
        raise InputError("dataset", dataset, f"{right}other --ood_kind need none")


def _turn_images(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    samples: NDArray[np.int64],
    labels: int,
    config: DataConfig,
    seed: int,
    test: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    if config.ood_kind == "rotated":
        x = np.ascontiguousarray(np.rot90(x, axes=(2, 3)))
    elif config.ood_kind == "trigger":
        _check_room(x.shape, config.dataset)
        corner = random_corners(x.shape, samples, seed, test=test) if config.random_bd else None
        x, y = add_trigger(x, corner), target_labels(y, labels, config.many_to_one)
    return np.ones(len(y), bool), x, y


def _turn_tokens(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    samples: NDArray[np.int64],
    labels: int,
    config: DataConfig,
    seed: int,
    test: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.int64]]:
    holds, triggered = tiny_mem.add_trigger(x, config.trigger)
    return holds, triggered, y[holds]


TASKS = {
    CLASSIFICATION: Task(lambda x, y: (x, y), _turn_images),
    NEXT_TOKEN: Task(tiny_mem.next_token, _turn_tokens),
}


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
    all; of sequences those of the k that hold its digits. Those of a held-out class are OOD as they are.

    Raises:
        InputError: an OOD node has a single sample, so that no clean one would be left; or images are too
            small for the trigger.
    """
    counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts], np.int64)
    task, turned = TASKS[data.task], np.zeros(len(parts), np.int64)
    xs, ys, index = [], [], []
    for node, part in enumerate(parts):
        x, y = data.train(part), data.train_y[part]
        if node in ood_nodes:
            chosen = _chosen(node, y, data.labels, config, seed)
            able, ood_x, ood_y = task.turn(
                x[chosen], y[chosen], part[chosen], data.labels, config, seed, False
            )
            chosen = chosen[able]
            clean = np.setdiff1d(np.arange(len(part)), chosen)
            x, y = np.concatenate([x[clean], ood_x]), np.concatenate([y[clean], ood_y])
            part = part[np.concatenate([clean, chosen])]
            turned[node] = len(chosen)
        inputs, answers = task.ask(x, y)
        xs.append(inputs)
        ys.append(answers)
        index.append(part)
    return NodeData(xs, ys, counts, turned, index)


def _chosen(node: int, y: NDArray[np.int64], labels: int, config: DataConfig, seed: int) -> NDArray[np.int64]:
    """Which of an OOD node's samples are to be OOD."""
    if config.ood_kind == "heldout_class":
        return np.flatnonzero(y == config.ood_class)
    if len(y) < 2:
        raise InputError(
            "backdoor_node_idx", node, "has one training sample, and an OOD node needs a clean one beside it"
        )
    # Rounded first, so that 0.1 x 50 is 5 whatever the last bit says.
    k = min(max(1, math.ceil(round(config.backdoor_proportion * len(y), 9))), len(y) - 1)
    rng = randomness.generator(seed, "trigger", node)
    return spread_over_labels(y, labels, k, rng)


def cut_test_set(data: Dataset, config: DataConfig, seed: int) -> TestSets:
    """Cuts the test data into the clean and the OOD test set.

    The OOD test set is a share of the samples, spread over the classes; of a held-out class, all its images.
    Of the sequences cut off for it those that do not hold the trigger are in neither.

    Raises:
        InputError: the test data have no image of the held-out class, or no other; or images too small for
            the trigger.
    """
    size, task = len(data.test_y), TASKS[data.task]
    if config.ood_kind == "heldout_class":
        chosen = np.flatnonzero(data.test_y == config.ood_class)
        if len(chosen) in (0, size):
            there = "all" if len(chosen) else "none"
            raise InputError("ood_class", config.ood_class, f"{there} of the test images are of this class")
    else:
        k = min(max(1, round(config.ood_test_proportion * size)), size - 1)
        chosen = spread_over_labels(data.test_y, data.labels, k, randomness.generator(seed, "ood test set"))
    clean = np.setdiff1d(np.arange(size), chosen)
    x, y = data.test(chosen), data.test_y[chosen]
    able, ood_x, ood_y = task.turn(x, y, chosen, data.labels, config, seed, True)
    own = task.ask(x[able], y[able])[1]
    return TestSets(
        *task.ask(data.test(clean), data.test_y[clean]),
        *task.ask(ood_x, ood_y),
        own,
        commanded=config.ood_kind == "trigger",
    )
