"""Batches of single nodes, for split learning: which samples of which node each step sees, in one pass.

Each node goes over its own samples once, in batches of its own, of which the last one may be smaller. The
order of its samples is that of :class:`dml.training.orders.Passes`, so that every algorithm whose nodes train
by themselves sees the same batches. There are two ways to put the batches of all nodes together:

    one after another   all batches of the first node, then all of the next one: a batch of the plan is one
                        batch of one node.
    side by side        a batch of the plan has the k-th batch of every node that has as many. In which order
                        a server takes them is drawn: the key is (seed, "order of clients", epoch).

Nothing here needs torch, or any sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.training.orders import Passes
from dml.traversal.plan import EpochPlan, Order


def own_batches(
    counts: NDArray[np.int64],
    batch_size: int,
    seed: int,
    epoch: int,
    order: Order = "new",
    *,
    shuffle: bool = True,
    side_by_side: bool = False,
) -> EpochPlan:
    """The plan of one pass of every node over its own samples.

    Args:
        counts: samples of each node, [n]; at least one in all.
        batch_size: samples of a node's batch.
        seed: the experiment's seed.
        epoch: the number of the pass, counted from 0.
        order: whether every pass has an order of its own.
        shuffle: otherwise each node's samples come in their own order.
        side_by_side: all nodes take their batches at the same time, and not one node after another.
    """
    n, key = len(counts), epoch if order == "new" else 0
    orders = Passes(counts, batch_size, shuffle, np.full(n, seed))
    first = np.cumsum(counts) - counts
    samples = np.concatenate([first[node] + orders.order(node, key) for node in range(n)])
    batch = np.concatenate([np.arange(count) // batch_size for count in counts.tolist()])
    if not side_by_side:
        batch += np.repeat(np.cumsum(orders.batches) - orders.batches, counts)
    together = np.argsort(batch, kind="stable")
    bounds = np.append(0, np.cumsum(np.bincount(batch)))
    return EpochPlan(epoch, np.asarray(counts, np.int64), samples[together], bounds)


@dataclass(frozen=True)
class InTurn:
    """The batches of a plan side by side, one after another as a server takes them.

    Args:
        plan: one batch of one node in each of its V batches.
        nodes: the node of each of them, [V].
        bounds: where each batch of the plan side by side begins among them, and where the last one ends,
            [K + 1].
    """

    plan: EpochPlan
    nodes: NDArray[np.int64]
    bounds: NDArray[np.int64]


def in_turn(plan: EpochPlan, seed: int) -> InTurn:
    """The order in which a server takes the batches of a plan side by side.

    Args:
        plan: of one pass, side by side.
        seed: the experiment's seed.
    """
    batch, node = np.nonzero(plan.rows)
    sizes = plan.rows[batch, node]
    parts = np.split(plan.samples, np.cumsum(sizes)[:-1])
    drawn = randomness.generator(seed, "order of clients", plan.number).random(plan.rows.shape)
    turn = np.lexsort((drawn[batch, node], batch))
    samples = np.concatenate([parts[k] for k in turn.tolist()])
    bounds = np.append(0, np.cumsum(sizes[turn]))
    steps = np.append(0, np.cumsum((plan.rows > 0).sum(1)))
    return InTurn(EpochPlan(plan.number, plan.counts, samples, bounds), node[turn], steps)
