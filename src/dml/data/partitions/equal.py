"""Equal amounts of data per node: one Dirichlet draw per label.

The nodes form groups of ten or fewer, each with a random share of the data. Within a group, label by label,
shares ~ Dir(label_alpha 1_k) determine how the samples of the label are spread over its k nodes. A node that
has its equal amount is full and takes no more; from then on only the shares of the others count. So alpha
means the same for ten nodes as for a thousand.

Lin et al. (arXiv 2102.04761) and Vogels et al. (RelaySGD, arXiv 2110.04175) also form groups of ten. In their
partitions a node may get too much; they draw again until no node has too little, and then cut equal parts.
"""

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.partition import LabelOptions, Partition

GROUP = 10
"""The largest number of nodes in a group."""


class EqualOptions(LabelOptions):
    """The options of the partition into equal amounts."""


def equal_partition(
    labels: NDArray[np.int64], n: int, classes: int, options: EqualOptions, seed: int, least: int = 1
) -> list[NDArray[np.int64]]:
    """The samples of each node, ascending; every sample is on one node, sizes differ by at most one.

    Args:
        labels: the labels of the training samples, [N].
        n: the number of nodes, at most N.
        classes: the number of labels L.
        options: the concentration of each label's shares.
        seed: the experiment's seed.
        least: ignored: n x least is at most N, so equal parts always have at least ``least`` samples.
    """
    rng = randomness.generator(seed, "partition")
    room = _rooms(len(labels), n)
    order = rng.permutation(len(labels))
    group = np.repeat(np.arange(len(room)), room.sum(1))
    # Sort the samples by group and label; within each, their order is random.
    order = order[np.lexsort((labels[order], group))]
    counts = np.bincount(group * classes + labels[order], minlength=len(room) * classes)
    weights = _log_gamma(rng, options.label_alpha, (classes, *room.shape))
    given = spread(counts.reshape(-1, classes), room, weights)
    # The samples are in the order (group, label), so the nodes that get them must be in that order, too.
    node = np.cumsum(room > 0).reshape(room.shape) - 1
    each = np.broadcast_to(node[:, None, :], (len(room), classes, room.shape[1]))
    owner = np.repeat(each.ravel(), given.transpose(0, 2, 1).ravel())
    by_owner = np.split(order[np.argsort(owner, kind="stable")], np.cumsum(room[room > 0])[:-1])
    return [np.sort(part) for part in by_owner]


def spread(
    counts: NDArray[np.int64], room: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The number of samples of each label that each node of each group gets, [groups, k, L].

    Label by label, samples go to the nodes that have room left, in proportion to their weights and by largest
    remainder. Samples that do not fit go to the nodes that still have room, in the same way.

    Args:
        counts: the number of samples of each label in each group, [groups, L].
        room: the number of samples that each node takes, [groups, k]; its sum over a group is that of counts.
        weights: logarithms of the weights, finite, [L, groups, k].
    """
    left = room.copy()
    given = np.zeros((*room.shape, counts.shape[1]), np.int64)
    for label, logs in enumerate(weights):
        rest = counts[:, label].copy()
        # Each pass deals out the rest of a group, or fills one of its nodes.
        while rest.any():
            shares = _shares(np.where(left > 0, logs, -np.inf)) * rest[:, None]
            part = np.floor(shares).astype(np.int64)
            rank = np.argsort(np.argsort(part - shares, axis=1, kind="stable"), axis=1)
            part += rank < (rest - part.sum(1))[:, None]
            part = np.minimum(part, left)
            given[:, :, label] += part
            left -= part
            rest -= part.sum(1)
    return given


def _shares(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(logs) divided by its sum in each row; the row of a full group, which is all -inf, becomes 0."""
    top = logs.max(1, keepdims=True)
    weights = np.exp(logs - np.where(np.isfinite(top), top, 0))
    shares: NDArray[np.float64] = weights / np.maximum(weights.sum(1, keepdims=True), 1)
    return shares


def _rooms(total: int, n: int) -> NDArray[np.int64]:
    """The number of samples that each node takes, [groups, k]; a smaller group has a 0 in its last place."""
    size = np.full(n, total // n)
    size[: total % n] += 1
    groups = np.array_split(size, -(-n // GROUP))
    room = np.zeros((len(groups), len(groups[0])), np.int64)
    for row, part in zip(room, groups, strict=True):
        row[: len(part)] = part
    return room


def _log_gamma(rng: np.random.Generator, alpha: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Logarithms of Gamma(alpha) draws; k draws divided by their sum are a draw of Dir(alpha 1_k).

    They are computed as Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha), since draws with a small alpha would
    underflow.
    """
    logs = np.log(rng.gamma(alpha + 1, size=shape)) + np.log1p(-rng.random(shape)) / alpha
    # For the smallest alphas even the logarithm overflows.
    result: NDArray[np.float64] = np.maximum(logs, -np.finfo(np.float64).max / 4)
    return result


EQUAL = Partition(
    equal_partition,
    about="equal amounts, and shares of the nodes for each label",
    options=EqualOptions,
    equal_sizes=True,
)
