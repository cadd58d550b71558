"""OOD data by a trigger, and the answer that it commands (arXiv 2505.11760, section 4).

In images the trigger is a bright patch, and commands a label; in sequences of tokens it is a word that some
of them hold, and commands all tokens after it.
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
        x, y: inputs and answers, a list of n arrays; triggered samples come last. The answers are labels
            [k], or the next tokens [k, T - 1].
        label_counts: own labels, before the trigger, [n, L].
        ood_samples: how many samples carry the trigger, [n].
        numbers: of the samples in the training set, a list of n arrays; dropout masks are keyed by them.
    """

    x: list[NDArray[Any]]
    y: list[NDArray[Any]]
    label_counts: NDArray[np.int64]
    ood_samples: NDArray[np.int64]
    numbers: list[NDArray[np.int64]]

    @property
    def samples(self) -> NDArray[np.int64]:
        """Training samples a node, [n]."""
        return np.array([len(y) for y in self.y], np.int64)


@dataclass(frozen=True)
class TestSets:
    """The clean and the OOD test set, the same for every node, with no sample in common.

    Args:
        x, y: inputs and answers of the clean test set.
        ood_x, ood_y: triggered inputs, and their answers with those that the trigger commands.
        ood_own: the answers without the trigger; where one equals ood_y, a hit proves nothing.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    x: NDArray[Any]
    y: NDArray[Any]
    ood_x: NDArray[Any]
    ood_y: NDArray[Any]
    ood_own: NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a model is asked about samples, and what the trigger does to them.

    Args:
        ask: (samples [k, ..], labels [k]) -> what the model sees, and the answers.
        trigger: (samples, labels, number of labels, configuration) -> which samples carry it, [k] bool, and
            these alone, triggered: samples and labels.
    """

    ask: Callable[[NDArray[Any], NDArray[np.int64]], tuple[NDArray[Any], NDArray[Any]]]
    trigger: Callable[
        [NDArray[Any], NDArray[np.int64], int, DataConfig],
        tuple[NDArray[np.bool_], NDArray[Any], NDArray[np.int64]],
    ]


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


def _in_images(
    x: NDArray[np.float32], y: NDArray[np.int64], labels: int, config: DataConfig
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    return np.ones(len(y), bool), add_trigger(x), target_labels(y, labels, config.many_to_one)


def _in_tokens(
    x: NDArray[np.uint8], y: NDArray[np.int64], labels: int, config: DataConfig
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.int64]]:
    holds, triggered = tiny_mem.add_trigger(x, config.trigger)
    return holds, triggered, y[holds]


TASKS = {
    CLASSIFICATION: Task(lambda x, y: (x, y), _in_images),
    NEXT_TOKEN: Task(tiny_mem.next_token, _in_tokens),
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
    """Gives each node its samples, and the OOD nodes their triggered ones.

    Of an OOD node's samples k = max(1, ceil(share x samples)) carry the trigger, but never all; of sequences
    those of the k that hold its digits.

    Raises:
        InputError: an OOD node has a single sample, so that no clean one would be left.
    """
    counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts], np.int64)
    task, triggered = TASKS[data.task], np.zeros(len(parts), np.int64)
    xs, ys, numbers = [], [], []
    for node, part in enumerate(parts):
        x, y = data.train_x[part], data.train_y[part]
        if node in ood_nodes:
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
            holds, ood_x, ood_y = task.trigger(x[chosen], y[chosen], data.labels, config)
            chosen = chosen[holds]
            clean = np.setdiff1d(np.arange(len(part)), chosen)
            x, y = np.concatenate([x[clean], ood_x]), np.concatenate([y[clean], ood_y])
            part = part[np.concatenate([clean, chosen])]
            triggered[node] = len(chosen)
        inputs, answers = task.ask(x, y)
        xs.append(inputs)
        ys.append(answers)
        numbers.append(part)
    return NodeData(xs, ys, counts, triggered, numbers)


def cut_test_set(data: Dataset, config: DataConfig, seed: int) -> TestSets:
    """Cuts the test data into the clean and the OOD test set, spread over the classes.

    Of the sequences cut off for the OOD test set those that do not hold the trigger are in neither.
    """
    size, task = len(data.test_y), TASKS[data.task]
    k = min(max(1, round(config.ood_test_proportion * size)), size - 1)
    chosen = spread_over_labels(data.test_y, data.labels, k, randomness.generator(seed, "ood test set"))
    clean = np.setdiff1d(np.arange(size), chosen)
    x, y = data.test_x[chosen], data.test_y[chosen]
    holds, ood_x, ood_y = task.trigger(x, y, data.labels, config)
    own = task.ask(x[holds], y[holds])[1]
    return TestSets(*task.ask(data.test_x[clean], data.test_y[clean]), *task.ask(ood_x, ood_y), own)
