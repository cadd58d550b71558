"""How the training data are dealt out to the nodes: two Dirichlet draws (arXiv 2505.11760, appendix).

Node shares ~ Dir(sample_alpha 1_n) give every node a budget; label mixtures ~ Dir(label_alpha 1_L) give
every node a weight for each label. Samples are then handed out one by one, each to a node that still has
budget, with probability in proportion to the nodes' weights for its label.
"""

import numpy as np
from numpy.typing import NDArray

from dml import randomness


def largest_remainder(quotas: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to quotas with the given sum; ties go to the lower index.

    Args:
        quotas: not negative, with a positive sum, [k].
        total: the sum of the result.
    """
    exact = quotas / quotas.sum() * total
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    # Rounding may leave the sum of the floors off by one in either direction.
    short = total - int(whole.sum())
    # Remainders equal but for rounding are ties.
    order = np.argsort(-np.round(exact - whole, 9), kind="stable")
    whole[order[:short] if short >= 0 else order[short:]] += np.sign(short)
    return whole


def budgets(shares: NDArray[np.float64], total: int, least: int = 1) -> NDArray[np.int64]:
    """Samples a node: largest remainder of share x total, at least ``least``; the largest give more."""
    result = largest_remainder(shares, total)
    for node in np.flatnonzero(result < least):
        while result[node] < least:
            result[np.argmax(result)] -= 1
            result[node] += 1
    return result


def deal(
    labels: NDArray[np.int64],
    budget: NDArray[np.int64],
    mixture: NDArray[np.float64],
    uniform: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The owner of each sample, [N].

    Sample k goes to the first node i with cdf_i > uniform_k x cdf_n, where cdf runs over the weights that
    the open nodes have for its label (or over their remaining budgets, where all weights are 0). The weights
    only change when a node closes, so all samples up to that moment are handed out at once.

    Args:
        labels: of the samples, in the order in which they are handed out, [N].
        budget: samples a node, with sum N, [n].
        mixture: weight of each label at each node, [n, L].
        uniform: a uniform number for each sample, [N].
    """
    count, left = len(labels), budget.copy()
    owner = np.empty(count, np.int64)
    # One row a label, so that what is searched lies together.
    weights = np.where(left > 0, mixture.T, 0.0)
    cdf = np.cumsum(weights, axis=1)
    done, block = 0, max(256, count // len(left))
    while done < count:
        starved = cdf[:, -1] <= 0
        if starved[labels[done]]:
            chosen = _pick(np.cumsum(left.astype(np.float64)), uniform[done])
            taken = 1
            owner[done] = chosen
        else:
            now = slice(done, min(done + block, count))
            kinds, draws = labels[now], uniform[now]
            stop = np.flatnonzero(starved[kinds])
            if len(stop):
                kinds, draws = kinds[: stop[0]], draws[: stop[0]]
            chosen = np.empty(len(kinds), np.int64)
            for label in np.unique(kinds):
                of_label = kinds == label
                chosen[of_label] = _pick(cdf[label], draws[of_label])
            taken = _until_one_closes(chosen, left)
            owner[done : done + taken] = chosen[:taken]
            # What is drawn beyond the next closing is drawn in vain.
            block = max(16, 2 * taken)
        np.subtract.at(left, owner[done : done + taken], 1)
        done += taken
        last = owner[done - 1]
        if left[last] == 0:
            # Only what comes after the node: the same sums in the same order as over all of them.
            weights[:, last] = cdf[:, last - 1] if last else 0.0
            np.cumsum(weights[:, last:], axis=1, out=cdf[:, last:])
            weights[:, last] = 0.0
    return owner


def _pick(cdf: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first i with cdf_i > uniform x cdf_n, for each uniform number in [0, 1)."""
    # The product may round up to cdf_n itself, which no i exceeds.
    at = np.minimum(uniform * cdf[-1], np.nextafter(cdf[-1], 0))
    chosen: NDArray[np.int64] = np.searchsorted(cdf, at, side="right")
    return chosen


def _until_one_closes(chosen: NDArray[np.int64], left: NDArray[np.int64]) -> int:
    """How many of the choices can be taken until the first node has used up its budget."""
    order = np.argsort(chosen, kind="stable")
    nodes, starts, counts = np.unique(chosen[order], return_index=True, return_counts=True)
    closing = np.flatnonzero(counts >= left[nodes])
    if not len(closing):
        return len(chosen)
    return int(order[starts[closing] + left[nodes[closing]] - 1].min()) + 1


def partition(
    labels: NDArray[np.int64],
    n: int,
    classes: int,
    sample_alpha: float,
    label_alpha: float,
    seed: int,
    least: int = 1,
) -> list[NDArray[np.int64]]:
    """The samples of each node, ascending; every sample is on one node, every node has ``least`` or more.

    Args:
        labels: of the training samples, [N].
        n: nodes, at most N.
        classes: number of labels L.
        sample_alpha: concentration of the nodes' shares.
        label_alpha: concentration of the label mixtures.
        seed: the experiment's seed.
        least: samples that every node gets at least; n x least is at most N.
    """
    rng = randomness.generator(seed, "partition")
    shares = _dirichlet(rng, sample_alpha, n, 1)[0]
    mixture = _dirichlet(rng, label_alpha, classes, n)
    order = rng.permutation(len(labels))
    owner = deal(labels[order], budgets(shares, len(labels), least), mixture, rng.random(len(labels)))
    by_owner = np.split(
        order[np.argsort(owner, kind="stable")], np.cumsum(np.bincount(owner, minlength=n))[:-1]
    )
    return [np.sort(part) for part in by_owner]


def _dirichlet(rng: np.random.Generator, alpha: float, width: int, rows: int) -> NDArray[np.float64]:
    """Rows ~ Dir(alpha 1); a tiny alpha, whose draws all underflow, puts the whole row on one entry."""
    draws = rng.dirichlet(np.full(width, alpha), size=rows)
    lost = ~(np.isfinite(draws).all(axis=1) & (draws.sum(axis=1) > 0))
    draws[lost] = 0.0
    draws[np.flatnonzero(lost), rng.integers(width, size=int(lost.sum()))] = 1.0
    return draws
