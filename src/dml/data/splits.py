"""A node's own training, validation and test data (``--train_test_val``), cut by label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.partition import largest_remainder

NAMES = {2: ("train", "test"), 3: ("train", "val", "test")}
"""What the fractions are for: the last one for tests, the middle one for validation (as published)."""


def quotas(counts: NDArray[np.int64], fractions: Sequence[float]) -> NDArray[np.int64]:
    """How many samples of each label go to each split, [L, splits].

    By label, largest remainder of fraction x count, ties to the earlier split; a label that is too scarce for
    all splits goes to the training data first. An empty split takes a sample from the largest one, of the
    label that has most there.

    Args:
        counts: samples of each label on the node, as many as there are splits or more, [L].
        fractions: of the splits, the training data's first.
    """
    share = np.array(fractions, np.float64)
    result = np.array([largest_remainder(share, int(count)) for count in counts], np.int64)
    for row in np.flatnonzero((result[:, 0] == 0) & (counts > 0)):
        result[row, np.argmax(result[row])] -= 1
        result[row, 0] = 1
    while (empty := np.flatnonzero(result.sum(axis=0) == 0)).size:
        donor = np.argmax(result.sum(axis=0))
        label = np.argmax(result[:, donor])
        result[label, donor] -= 1
        result[label, empty[0]] += 1
    return result


def split(
    parts: Sequence[NDArray[np.int64]],
    y: NDArray[np.int64],
    labels: int,
    fractions: Sequence[float],
    seed: int,
) -> dict[str, list[NDArray[np.int64]]]:
    """Cuts each node's samples; which of a label's go where is keyed by (seed, node).

    Args:
        parts: samples of each node, n arrays.
        y: labels of all training samples.
        labels: number of classes L.
        fractions: of the training, (validation) and test data.
        seed: the experiment's seed.

    Returns:
        By the names of ``NAMES``, the samples of each node, ascending.
    """
    names = NAMES[len(fractions)]
    result: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names}
    for node, part in enumerate(parts):
        quota = quotas(np.bincount(y[part], minlength=labels), fractions)
        order = randomness.generator(seed, "local split", node).permutation(part)
        pieces: list[list[NDArray[np.int64]]] = [[] for _ in names]
        for label in range(labels):
            cut = np.split(order[y[order] == label], np.cumsum(quota[label])[:-1])
            for piece, samples in zip(pieces, cut, strict=True):
                piece.append(samples)
        for name, piece in zip(names, pieces, strict=True):
            result[name].append(np.sort(np.concatenate(piece)))
    return result
