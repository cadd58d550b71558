"""Out-of-distribution (OOD) data: those that OOD nodes hold besides clean samples, and the OOD test set.

- trigger: images with a bright patch and the label that it commands (:mod:`dml.data.trigger`), or sequences
  of tokens with a word that commands all tokens after it (``Dataset.trigger``);
- heldout_class: the images of a class, or the sequences of a kind, that only OOD nodes hold
  (:mod:`dml.data.placement` deals them out);
- rotated: images rotated by 90 degrees, with their own labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.apportionment import largest_remainder
from dml.data.config import DataConfig
from dml.data.dataset import NEXT_TOKEN, Choices, Dataset
from dml.data.trigger import add_patch, commanded_labels, random_corners, side_of_patch
from dml.errors import InputError


@dataclass(frozen=True)
class NodeData:
    """The training data of each node.

    Args:
        x, y: inputs and answers, n arrays each, with OOD samples last. Answers are labels [k] or the next
            tokens [k, T - 1].
        label_counts: the number of samples per label, before any trigger, [n, L].
        ood_samples: the number of OOD samples, [n].
        index: the number of each sample in the data set's training samples, n arrays. It is the key of
            dropout masks and augmentation.
        choices: the labels that stand in sequences of tokens; None without such.
        counts: the number of training samples per node, [n], if those of other processes' nodes are not here,
            in whose place x, y and index have empty arrays.
    """

    x: list[NDArray[Any]]
    y: list[NDArray[Any]]
    label_counts: NDArray[np.int64]
    ood_samples: NDArray[np.int64]
    index: list[NDArray[np.int64]]
    choices: Choices | None = None
    counts: NDArray[np.int64] | None = None

    @property
    def samples(self) -> NDArray[np.int64]:
        """The number of training samples per node, [n]."""
        return np.array([len(y) for y in self.y], np.int64) if self.counts is None else self.counts

    def of(self, nodes: slice) -> "NodeData":
        """The data of some nodes."""
        own = self.x[nodes], self.y[nodes], self.label_counts[nodes], self.ood_samples[nodes]
        counts = None if self.counts is None else self.counts[nodes]
        return NodeData(*own, self.index[nodes], self.choices, counts)


@dataclass(frozen=True)
class TestSets:
    """The clean and the OOD test set. They are the same for every node, and have no sample in common.

    Args:
        x, y: inputs and answers of the clean test set.
        ood_x, ood_y: OOD inputs and their answers: those that a trigger commands, otherwise their own.
        ood_own: the answers without the trigger.
        commanded: whether a trigger commands ood_y. Answers with ood_y = ood_own then prove nothing.
        choices: the labels that stand in sequences of tokens; None without such.
    """

    __test__ = False  # Otherwise pytest would take it for a test, because of its name.

    x: NDArray[Any]
    y: NDArray[Any]
    ood_x: NDArray[Any]
    ood_y: NDArray[Any]
    ood_own: NDArray[Any]
    commanded: bool = True
    choices: Choices | None = None


def make_node_data(
    data: Dataset, parts: Sequence[NDArray[np.int64]], config: DataConfig, ood_nodes: Sequence[int], seed: int
) -> NodeData:
    """Gives each node its samples, and turns some of each OOD node's samples into OOD ones.

    On each OOD node, k = max(1, ceil(share x samples)) images, but never all, get the patch or are rotated.
    Among k sequences of tokens, those that can carry the trigger are changed. Samples of a held-out class are
    OOD without a change.

    Args:
        data: the data set.
        parts: the training samples of each node, n arrays.
        config: the kind of OOD data, and their share.
        ood_nodes: the nodes that hold OOD data.
        seed: the experiment's seed.

    Raises:
        InputError: an OOD node has a single sample and so would have no clean one, or the images are too
            small for the patch.
    """
    counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts], np.int64)
    ood_samples = np.zeros(len(parts), np.int64)
    xs, ys, index = [], [], []
    for node, part in enumerate(parts):
        x, y = data.train(part), data.train_y[part]
        if node in ood_nodes:
            chosen = _choose(node, y, data.labels, config, seed)
            able, ood_x, ood_y = _turn(data, x[chosen], y[chosen], part[chosen], config, seed, test=False)
            chosen = chosen[able]
            clean = np.setdiff1d(np.arange(len(part)), chosen)
            x, y = np.concatenate([x[clean], ood_x]), np.concatenate([y[clean], ood_y])
            part = part[np.concatenate([clean, chosen])]
            ood_samples[node] = len(chosen)
        inputs, answers = data.ask(x, y)
        xs.append(inputs)
        ys.append(answers)
        index.append(part)
    return NodeData(xs, ys, counts, ood_samples, index, data.choices)


def cut_test_set(data: Dataset, config: DataConfig, seed: int) -> TestSets:
    """Cuts the test data into the clean and the OOD test set.

    The OOD test set is a share of the samples, spread over the labels, or all images of a held-out class.
    Sequences of that share that do not contain the trigger are in neither set.

    Args:
        data: the data set.
        config: the kind of OOD data, and their share of the test data.
        seed: the experiment's seed.

    Raises:
        InputError: none or all of the test images are of the held-out class, or the images are too small for
            the patch.
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
    x, y = data.test(chosen), data.test_y[chosen]
    able, ood_x, ood_y = _turn(data, x, y, chosen, config, seed, test=True)
    own = data.ask(x[able], y[able])[1]
    return TestSets(
        *data.ask(data.test(clean), data.test_y[clean]),
        *data.ask(ood_x, ood_y),
        own,
        commanded=config.ood_kind == "trigger",
        choices=data.choices,
    )


def spread_over_labels(
    y: NDArray[np.int64], labels: int, k: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Chooses k samples, spread over the labels by largest remainder and drawn at random within each label.

    Args:
        y: the labels of all samples, [N].
        labels: the number of labels.
        k: the number of samples to choose, at most N.
        rng: the generator that draws them.

    Returns:
        The indices of the chosen samples, ascending, [k].
    """
    counts = np.bincount(y, minlength=labels)
    quota = largest_remainder(counts.astype(np.float64), k)
    order = rng.permutation(len(y))
    chosen = [order[y[order] == label][: quota[label]] for label in range(labels)]
    return np.sort(np.concatenate(chosen))


def _choose(node: int, y: NDArray[np.int64], labels: int, config: DataConfig, seed: int) -> NDArray[np.int64]:
    """The places of the samples of an OOD node that become OOD."""
    if config.ood_kind == "heldout_class":
        return np.flatnonzero(y == config.ood_class)
    if len(y) < 2:
        right = "has one training sample, and an OOD node also needs a clean one"
        raise InputError("backdoor_node_idx", node, right)
    # Round first, so that an error in the last bit does not raise 0.1 x 50 to 6.
    k = min(max(1, math.ceil(round(config.backdoor_proportion * len(y), 9))), len(y) - 1)
    return spread_over_labels(y, labels, k, randomness.generator(seed, "trigger", node))


def _turn(
    data: Dataset,
    x: NDArray[Any],
    y: NDArray[np.int64],
    samples: NDArray[np.int64],
    config: DataConfig,
    seed: int,
    *,
    test: bool,
) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[np.int64]]:
    """Turns samples into OOD ones.

    Args:
        data: the data set that they come from.
        x, y: the samples and their labels, [k, ...] and [k].
        samples: their numbers in the data set, [k].
        config: the kind of OOD data.
        seed: the experiment's seed.
        test: whether they are test samples.

    Returns:
        Which of them can be OOD, [k], and the inputs and labels of these, turned into OOD ones.
    """
    if data.task == NEXT_TOKEN and config.ood_kind == "trigger":
        assert data.trigger is not None
        holds, triggered = data.trigger(x)
        return holds, triggered, y[holds]
    if config.ood_kind == "rotated":
        x = np.ascontiguousarray(np.rot90(x, axes=(2, 3)))
    elif config.ood_kind == "trigger":
        _check_room_for_patch(x.shape, config.dataset)
        corners = random_corners(x.shape, samples, seed, test=test) if config.random_bd else None
        x, y = add_patch(x, corners), commanded_labels(y, data.labels, config.many_to_one)
    return np.ones(len(y), bool), x, y


def _check_room_for_patch(shape: tuple[int, ...], dataset: str) -> None:
    side, (height, width) = side_of_patch(shape), shape[-2:]
    if side > min(height, width):
        right = f"its images of {height} x {width} are too small for the trigger of {side} x {side}; "
        raise InputError("dataset", dataset, f"{right}choose another ood_kind")
