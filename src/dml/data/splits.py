"""The cut of each node's own data into training, validation and test data, label by label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.apportionment import largest_remainder

NAMES = {2: ("train", "test"), 3: ("train", "val", "test")}
"""The names of two or three splits; as published, the test data come last."""


def quotas(counts: NDArray[np.int64], fractions: Sequence[float]) -> NDArray[np.int64]:
    """The number of samples of each label that go to each split, [L, splits].

    For each label, this is the largest remainder of fraction x count, with ties to the earlier split; a label
    that is too scarce for all splits goes to the training data first. A split that would be empty takes a
    sample from the largest one, of the label with most samples there.

    Args:
        counts: the number of samples per label on the node, [L]; their sum is at least the number of splits.
        fractions: the share of each split, that of the training data first.
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
    """Cuts each node's samples; the choice within a label is keyed by (seed, node).

    Args:
        parts: the samples of each node, n arrays.
        y: the labels of all training samples, [N].
        labels: the number of labels L.
        fractions: the shares of the training, (validation) and test data.
        seed: the experiment's seed.

    Returns:
        For each name in ``NAMES``, the samples of each node, ascending.
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
