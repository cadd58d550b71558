"""How the training data are dealt out in equal amounts: one Dirichlet draw a label.

The nodes are in groups of ten or fewer, each with a random share of the data. In a group, label by label,
shares ~ Dir(label_alpha 1_k) say how the samples of the label are spread over its k nodes; a node that has
its equal part is full and takes no more, and the others' shares count. So alpha means the same for ten nodes
as for a thousand. Lin et al. (arXiv 2102.04761) and Vogels et al. (RelaySGD, arXiv 2110.04175) have groups of
ten, too; there a node may be overfull, and all is drawn anew until no node is too small, and then cut into
equal parts.
"""

import numpy as np
from numpy.typing import NDArray

from dml import randomness

GROUP = 10
"""Nodes in a group, at most."""


def equal_partition(
    labels: NDArray[np.int64], n: int, classes: int, label_alpha: float, seed: int
) -> list[NDArray[np.int64]]:
    """The samples of each node, ascending; every sample is on one node, sizes differ by at most one.

    Args:
        labels: of the training samples, [N].
        n: nodes, at most N.
        classes: number of labels L.
        label_alpha: concentration of each label's shares.
        seed: the experiment's seed.
    """
    rng = randomness.generator(seed, "partition")
    room = _rooms(len(labels), n)
    order = rng.permutation(len(labels))
    group = np.repeat(np.arange(len(room)), room.sum(1))
    # The samples by group and label, at random within each.
    order = order[np.lexsort((labels[order], group))]
    counts = np.bincount(group * classes + labels[order], minlength=len(room) * classes)
    weights = _log_gamma(rng, label_alpha, (classes, *room.shape))
    given = spread(counts.reshape(-1, classes), room, weights)
    # They lie in the order (group, label), and so must the numbers of the nodes that they go to.
    node = np.cumsum(room > 0).reshape(room.shape) - 1
    each = np.broadcast_to(node[:, None, :], (len(room), classes, room.shape[1]))
    owner = np.repeat(each.ravel(), given.transpose(0, 2, 1).ravel())
    by_owner = np.split(order[np.argsort(owner, kind="stable")], np.cumsum(room[room > 0])[:-1])
    return [np.sort(part) for part in by_owner]


def spread(
    counts: NDArray[np.int64], room: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """How many samples of each label each node of each group gets, [groups, k, L].

    Label by label, in proportion to the weights of the nodes that have room left, by largest remainder; what
    does not fit goes to those that still have room, in the same way.

    Args:
        counts: samples of each label in each group, [groups, L].
        room: samples of each node; their sum is that of the group's counts, [groups, k].
        weights: their logarithms, finite, [L, groups, k].
    """
    left = room.copy()
    given = np.zeros((*room.shape, counts.shape[1]), np.int64)
    for label, logs in enumerate(weights):
        rest = counts[:, label].copy()
        # Each turn deals out all that is left of a group, or fills one of its nodes.
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
    """exp(logs) over its sum in each row; a row of -inf alone, of a full group, becomes 0."""
    top = logs.max(1, keepdims=True)
    weights = np.exp(logs - np.where(np.isfinite(top), top, 0))
    shares: NDArray[np.float64] = weights / np.maximum(weights.sum(1, keepdims=True), 1)
    return shares


def _rooms(total: int, n: int) -> NDArray[np.int64]:
    """The equal part of each node by group, [groups, k]; 0 in the last place of a group that is smaller."""
    size = np.full(n, total // n)
    size[: total % n] += 1
    groups = np.array_split(size, -(-n // GROUP))
    room = np.zeros((len(groups), len(groups[0])), np.int64)
    for row, part in zip(room, groups, strict=True):
        row[: len(part)] = part
    return room


def _log_gamma(rng: np.random.Generator, alpha: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Logarithms of Gamma(alpha) draws; in proportion to them, any k are a draw of Dir(alpha 1_k).

    G(alpha) = G(alpha + 1) U^(1 / alpha), as numbers the draws of a small alpha would underflow.
    """
    logs = np.log(rng.gamma(alpha + 1, size=shape)) + np.log1p(-rng.random(shape)) / alpha
    # Of the smallest alphas even the logarithm overflows.
    result: NDArray[np.float64] = np.maximum(logs, -np.finfo(np.float64).max / 4)
    return result
