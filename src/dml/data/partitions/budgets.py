"""A budget of samples and a mixture of labels per node: two Dirichlet draws (arXiv 2505.11760, appendix).

Node shares ~ Dir(sample_alpha 1_n) give every node a budget; label mixtures ~ Dir(label_alpha 1_L) give every
node a weight for each label. The samples are then handed out one by one. Each goes to a node that still has
budget, with probability in proportion to the nodes' weights for its label.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dml import randomness
from dml.data.apportionment import largest_remainder
from dml.data.partition import MAX_ALPHA, LabelOptions, Partition


class BudgetOptions(LabelOptions):
    """The options of the partition by budgets."""

    sample_alpha: float = Field(
        100.0,
        gt=0,
        le=MAX_ALPHA,
        description="Dirichlet concentration of the nodes' amounts of data: 1000 is even, 1 is skewed",
    )


def budget_partition(
    labels: NDArray[np.int64], n: int, classes: int, options: BudgetOptions, seed: int, least: int = 1
) -> list[NDArray[np.int64]]:
    """The samples of each node, ascending; every sample is on one node, every node has ``least`` or more.

    Args:
        labels: the labels of the training samples, [N].
        n: the number of nodes, at most N.
        classes: the number of labels L.
        options: the concentrations of the nodes' shares and of the label mixtures.
        seed: the experiment's seed.
        least: the smallest number of samples per node; n x least is at most N.
    """
    rng = randomness.generator(seed, "partition")
    shares = _dirichlet(rng, options.sample_alpha, n, 1)[0]
    mixture = _dirichlet(rng, options.label_alpha, classes, n)
    order = rng.permutation(len(labels))
    budget = budgets(shares, len(labels), least)
    owner = draw_owners(labels[order], budget, mixture, rng.random(len(labels)))
    by_owner = np.split(
        order[np.argsort(owner, kind="stable")], np.cumsum(np.bincount(owner, minlength=n))[:-1]
    )
    return [np.sort(part) for part in by_owner]


def budgets(shares: NDArray[np.float64], total: int, least: int = 1) -> NDArray[np.int64]:
    """The number of samples per node, [n]: the largest remainder of share x total, but at least ``least``.

    The largest nodes give samples to those that have too few.
    """
    result = largest_remainder(shares, total)
    for node in np.flatnonzero(result < least):
        while result[node] < least:
            result[np.argmax(result)] -= 1
            result[node] += 1
    return result


def draw_owners(
    labels: NDArray[np.int64],
    budget: NDArray[np.int64],
    mixture: NDArray[np.float64],
    uniform: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The node that gets each sample, [N].

    Sample k goes to the first node i with cdf_i > uniform_k x cdf_n. The cdf runs over the weights that the
    nodes with budget left have for its label, or, if all of these are 0, over their remaining budgets. It
    only changes when a node's budget is used up, so all samples up to that moment are handed out at once.

    Args:
        labels: the labels of the samples, in the order in which they are handed out, [N].
        budget: the number of samples per node, with sum N, [n].
        mixture: the weight of each label at each node, [n, L].
        uniform: a uniform number for each sample, [N].
    """
    count, left = len(labels), budget.copy()
    owner = np.empty(count, np.int64)
    # One row per label, so that the numbers of one search lie together in memory.
    weights = np.where(left > 0, mixture.T, 0.0)
    cdf = np.cumsum(weights, axis=1)
    done, block = 0, max(256, count // len(left))
    while done < count:
        starved = cdf[:, -1] <= 0
        if starved[labels[done]]:
            owner[done] = _pick(np.cumsum(left.astype(np.float64)), uniform[done])
            taken = 1
        else:
            now = slice(done, min(done + block, count))
            chosen = _by_weight(labels[now], uniform[now], cdf, starved)
            taken = _until_one_is_full(chosen, left)
            owner[done : done + taken] = chosen[:taken]
            # Choices beyond the next exhausted budget are wasted.
            block = max(16, 2 * taken)
        np.subtract.at(left, owner[done : done + taken], 1)
        done += taken
        last = owner[done - 1]
        if left[last] == 0:
            # Only the sums from this node on change; they are added in the same order as in a full cumsum.
            weights[:, last] = cdf[:, last - 1] if last else 0.0
            np.cumsum(weights[:, last:], axis=1, out=cdf[:, last:])
            weights[:, last] = 0.0
    return owner


def _by_weight(
    labels: NDArray[np.int64],
    uniform: NDArray[np.float64],
    cdf: NDArray[np.float64],
    starved: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The nodes of samples by weight, up to the first sample whose label has no weight on any open node.

    Args:
        labels: the labels of the samples, [k].
        uniform: a uniform number for each sample, [k].
        cdf: the cumulative weights of the open nodes for each label, [L, n].
        starved: whether all weights of a label are 0, [L].
    """
    stop = np.flatnonzero(starved[labels])
    if len(stop):
        labels, uniform = labels[: stop[0]], uniform[: stop[0]]
    chosen = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_label = labels == label
        chosen[of_label] = _pick(cdf[label], uniform[of_label])
    return chosen


def _pick(cdf: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first i with cdf_i > uniform x cdf_n, for each uniform number in [0, 1)."""
    # The product may round up to cdf_n itself, which no i exceeds.
    at = np.minimum(uniform * cdf[-1], np.nextafter(cdf[-1], 0))
    chosen: NDArray[np.int64] = np.searchsorted(cdf, at, side="right")
    return chosen


def _until_one_is_full(chosen: NDArray[np.int64], left: NDArray[np.int64]) -> int:
    """The number of choices that can be taken until the first node has used up its budget."""
    order = np.argsort(chosen, kind="stable")
    nodes, starts, counts = np.unique(chosen[order], return_index=True, return_counts=True)
    full = np.flatnonzero(counts >= left[nodes])
    if not len(full):
        return len(chosen)
    return int(order[starts[full] + left[nodes[full]] - 1].min()) + 1


def _dirichlet(rng: np.random.Generator, alpha: float, width: int, rows: int) -> NDArray[np.float64]:
    """Draws of Dir(alpha 1), [rows, width]; if a tiny alpha makes a row underflow, one entry of it is 1."""
    draws = rng.dirichlet(np.full(width, alpha), size=rows)
    lost = ~(np.isfinite(draws).all(axis=1) & (draws.sum(axis=1) > 0))
    draws[lost] = 0.0
    draws[np.flatnonzero(lost), rng.integers(width, size=int(lost.sum()))] = 1.0
    return draws


BUDGETS = Partition(
    budget_partition,
    about="amounts by --sample_alpha, and a mixture of labels per node",
    options=BudgetOptions,
)
