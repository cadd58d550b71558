"""When the last answer of a phase arrives if each directed link carries one message at a time.

Over shortest paths to one node, all messages of a directed link come from one link, or are sent by the
orchestrator, on the way out; on the way back they meet, and go on in the order in which they arrive. So one
link after the other is computed, for all virtual batches at once.
"""

import numpy as np
from numpy.typing import NDArray

from dml.topology.paths import Paths
from dml.traversal.crossings import Crossings

Floats = NDArray[np.float64]


def relayed(paths: Paths, crossings: Crossings) -> Floats:
    """If messages are relayed one by one.

    Args:
        paths: from the orchestrator.
        crossings: the messages.

    Returns:
        The time of the last answer, [b]; 0 if nobody is visited.
    """
    used, latency = np.ascontiguousarray(crossings.used.T), crossings.latency
    down, up, work = (np.ascontiguousarray(part.T) for part in (crossings.down, crossings.up, crossings.work))
    below, lanes = _below(paths), np.arange(used.shape[1])
    # Where each message has arrived so far. One that is not sent has no size: it delays none that follow it.
    at = np.zeros(used.shape)
    for node in paths.outwards[1:].tolist() if not crossings.unasked else ():
        free = at[below[node][0]]
        for about in below[node].tolist():
            free = np.maximum(at[about], free)
            free += down[about]
            at[about] = free + latency
    # On the way back the order may change, and one that is not sent comes last.
    at = np.where(used, at + work, np.inf)
    for node in paths.outwards[:0:-1].tolist() if not crossings.unanswered else ():
        come = below[node]
        if len(come) > 1:
            come = come[np.argsort(at[come].T, axis=1, kind="stable").T]
            ready, sizes = at[come, lanes], up[come, lanes]
            for before, now, size in zip([ready[0], *ready], ready, sizes, strict=False):
                np.maximum(before, now, out=now)
                now += size
            at[come, lanes] = ready + latency
        else:
            at[come] += up[come] + latency
    last: Floats = np.where(used, at, 0.0).max(0)
    return last


def collected(paths: Paths, crossings: Crossings) -> Floats:
    """If they are collected along the tree of the paths; arguments and result as for :func:`relayed`."""
    used, latency = np.ascontiguousarray(crossings.used.T), crossings.latency
    down, up, work = (np.ascontiguousarray(part.T) for part in (crossings.down, crossings.up, crossings.work))
    at = np.zeros(used.shape)
    for node in paths.outwards[1:].tolist():
        at[node] = at[paths.parent[node]] + down[node] + latency
    done = at + work
    done[paths.root] = 0
    for node in paths.outwards[:0:-1].tolist():
        before = paths.parent[node]
        done[before] = np.maximum(done[before], np.where(used[node], done[node] + up[node] + latency, 0.0))
    last: Floats = done[paths.root]
    return last


def _below(paths: Paths) -> list[NDArray[np.int64]]:
    """The nodes whose path each node is on, its own included, in ascending order."""
    below: list[list[int]] = [[] for _ in range(paths.topology.n)]
    for node in range(paths.topology.n):
        for on_the_way in paths.path(node):
            below[on_the_way].append(node)
    return [np.array(nodes) for nodes in below]
