"""When the last answer of a phase arrives if each node has one port for all that it sends and receives.

Every message over an edge is one event: it becomes ready, waits until the ports of both ends are free,
crosses the edge, and travels for the latency, as in :mod:`dml.clock.transfers`. Events follow one another in
time, and at the same time by node. Those of different virtual batches do not concern each other, so that one
turn of a loop takes the next event of each of them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dml.topology.paths import Paths
from dml.traversal.crossings import Crossings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def relayed(paths: Sequence[Paths], group: Ints, crossings: Crossings) -> Floats:
    """If messages are relayed one by one.

    Args:
        paths: from each orchestrator.
        group: which of them is that of each virtual batch, [b].
        crossings: the messages.

    Returns:
        The time of the last answer, [b]; 0 if nobody is visited.
    """
    hops = np.array([some.hops for some in paths])
    ways = 2 - crossings.unasked - crossings.unanswered
    order, still = _longest_first((ways * crossings.used * hops[group]).sum(1))
    group, crossings = group[order], crossings.of(order)
    used, work, latency = crossings.used, crossings.work, crossings.latency
    b, n = used.shape
    # All hops of all ways in one list: to a node and back, node after node, orchestrator after orchestrator.
    ends: list[tuple[int, int]] = []
    first = np.zeros((len(paths), n), np.int64)
    for g, some in enumerate(paths):
        for node in range(n):
            way, first[g, node] = some.path(node), len(ends)
            back = list(pairwise(way))
            ends += [(b, a) for a, b in reversed(back)] + back
    sender, receiver = np.array(ends).T
    far = hops[group].ravel()
    hop = far * crossings.unasked
    at_hop, ends_at = first[group].ravel() + hop, far * (2 - crossings.unanswered)
    across, at_work = np.stack([crossings.down.ravel(), crossings.up.ravel()]), work.ravel()
    begins = work if crossings.unasked else 0.0
    ready, busy, last = np.where(used, begins, np.inf), np.zeros(b * n), np.zeros(b)
    every = ready.ravel()
    for live, base in _turns(still, n):
        own = base + ready[:live].argmin(1)
        k, done = at_hop[own], hop[own]
        one, other = base + sender[k], base + receiver[k]
        now = np.maximum(np.maximum(every[own], busy[one]), busy[other])
        now += across[(done >= far[own]).astype(np.int64), own]
        busy[one] = busy[other] = now
        now = now + latency + np.where(done + 1 == far[own], at_work[own], 0.0)
        at_hop[own], hop[own] = k + 1, done + 1
        every[own] = np.where(done + 1 == ends_at[own], np.inf, now)
        np.maximum(last[:live], now, out=last[:live])
    return _as_before(last, order)


def collected(paths: Sequence[Paths], group: Ints, crossings: Crossings) -> Floats:
    """If they are collected along the tree of the paths; arguments and result as for :func:`relayed`."""
    order, still = _longest_first(2 * crossings.used.sum(1))
    group, crossings = group[order], crossings.of(order)
    used, work, latency = crossings.used, crossings.work, crossings.latency
    b, n = used.shape
    parent = np.array([some.parent for some in paths])[group]
    root = np.array([some.root for some in paths])[group]
    before, at_work = np.where(parent < 0, 0, parent), work.ravel()
    waits = np.ones((b, n), np.int64)
    np.add.at(waits, (np.arange(b)[:, None], before), used)
    waits[np.arange(b), root] = n + 1  # The orchestrator answers nobody.
    ready = np.where(used & (parent == root[:, None]), 0.0, np.inf)
    back, latest, busy, last = np.zeros(b * n, np.int64), np.zeros(b * n), np.zeros(b * n), np.zeros(b)
    every, of, left = ready.ravel(), before.ravel(), waits.ravel()
    across = np.stack([crossings.down.ravel(), crossings.up.ravel()])
    for live, base in _turns(still, n):
        node = ready[:live].argmin(1)
        own = base + node
        behind, upwards = base + of[own], back[own]
        now = np.maximum(np.maximum(every[own], busy[own]), busy[behind]) + across[upwards, own]
        busy[own] = busy[behind] = now
        now = now + latency
        every[own] = np.inf
        np.maximum(last[:live], now, out=last[:live])
        going = upwards == 0
        next_down = going[:, None] & used[:live] & (parent[:live] == node[:, None])
        np.copyto(ready[:live], now[:, None], where=next_down)
        waiting = np.where(going, own, behind)
        latest[waiting] = np.maximum(latest[waiting], now + np.where(going, at_work[own], 0.0))
        left[waiting] -= 1
        due = waiting[left[waiting] == 0]
        every[due], back[due] = latest[due], 1
    return _as_before(last, order)


def _longest_first(events: Ints) -> tuple[Ints, Ints]:
    """The batches in the order of their events, most first, and how many are left in each turn."""
    order = np.argsort(-events, kind="stable")
    turns = np.arange(events.max(initial=0))
    return order, np.searchsorted(-events[order], -turns, side="left")


def _turns(still: Ints, n: int) -> Iterator[tuple[int, Ints]]:
    """How many batches are left, and where the nodes of each begin in a flat array."""
    base = np.arange(still.max(initial=0)) * n
    for live in still.tolist():
        yield live, base[:live]


def _as_before(last: Floats, order: Ints) -> Floats:
    """Times in the order in which the batches were given."""
    answers = np.empty_like(last)
    answers[order] = last
    return answers
