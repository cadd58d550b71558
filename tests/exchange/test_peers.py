"""Algorithms run unchanged on another exchange, whose nodes hold one row each and send each other messages.

The nodes are threads here, and their links queues; another implementation may have processes and sockets.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from queue import SimpleQueue

import numpy as np
import pytest
import torch

from dml.algorithms.algorithm import Setup
from dml.algorithms.build import build
from dml.algorithms.registry import ALGORITHMS
from dml.exchange.links import over_edges
from dml.exchange.traffic import none
from dml.topology import make

GRAPH = make("barabasi_albert:n=7,m=2,seed=1")
SEED, P, ROUNDS, LR, EDGE_WEIGHT = 5, 8, 12, 0.1, 0.12
SECONDS = 60
"""After which a thread that still waits for a message fails, instead of hanging."""


class Peer:
    """The exchange as one node sees it, with the verb ``average`` under the loss rule hold_last."""

    def __init__(self, node, like, queues, drop):
        self.topology, self.like, self.headers = GRAPH, like, {}
        self.node, self.queues = node, queues
        self.links = over_edges(GRAPH, drop, SEED)
        self.into = np.flatnonzero(self.links.receiver == node)
        self.out = self.links.sender == node
        self.traffic = none(GRAPH.n, GRAPH.m)

    def average(self, W, loss_rule, offset=None):
        assert (loss_rule, offset) == ("hold_last", None)
        return PeerAverage(self, W.toarray()[self.node])

    def at_once(self):
        return nullcontext()

    def take_traffic(self):
        taken, self.traffic = self.traffic, none(GRAPH.n, GRAPH.m)
        return taken


class PeerAverage:
    """The node's row of W times its neighbourhood, three columns at a time."""

    def __init__(self, peer, row):
        self.peer, self.row, self.last = peer, row, {}
        self.own = torch.zeros_like(peer.like)

    def __call__(self, Y, t, listeners=None):
        assert listeners is None
        for part in self.chunks(t):
            self.space(part).copy_(Y[:, part])
            Y[:, part] = self.mixed(part)

    def chunks(self, t, listeners=None):
        self.arrived = self.peer.links.arrived(t)
        self.peer.traffic.sent[self.peer.node] += 4 * P * self.peer.out.sum()
        for start in range(0, P, 3):
            yield slice(start, min(start + 3, P))

    def space(self, part):
        return self.own[:, part]

    def mixed(self, part):
        peer, own = self.peer, self.own[:, part]
        for receiver in peer.links.receiver[peer.out]:
            peer.queues[peer.node, receiver].put(own.clone())
        new = self.row[peer.node] * own
        for link in peer.into:
            sender = peer.links.sender[link]
            message = peer.queues[sender, peer.node].get(timeout=SECONDS)
            if self.arrived[link]:
                self.last[sender, part.start] = message
            new = new + self.row[sender] * self.last.get((sender, part.start), own)
        return new

    def memory(self):
        return {}


def local_step(x, t, nodes):
    """Models shrink, and noise is added that is keyed by the round and the node."""
    noise = np.stack([np.random.default_rng([t, i]).standard_normal(P) for i in nodes])
    x.mul_(0.9).add_(torch.from_numpy(noise))


def rounds(rule, X, nodes, taking_part):
    """The models after each round, [rounds, rows, P], and the bytes that each node sent, [n]."""
    models, sent = [], np.zeros(GRAPH.n, np.int64)
    with torch.no_grad():
        for t in range(ROUNDS):
            rule.before(X, t, taking_part)
            local_step(X, t, nodes)
            rule.after(X, t, LR)
            models.append(X.clone())
            sent += rule.traffic().sent
    return torch.stack(models), sent


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize(
    "name", ["dpsgd", "d2", "exact_diffusion", "gradient_tracking", "quasi_global_momentum"]
)
def test_peers_with_one_row_each_get_the_numbers_of_one_matrix(name: str, drop: float) -> None:
    X = torch.from_numpy(np.random.default_rng(0).standard_normal((GRAPH.n, P)))
    flags = {"seed": SEED, "drop_probability": drop, "loss_rule": "hold_last", "edge_weight": EDGE_WEIGHT}
    expected, bytes_expected = rounds(
        build(name, GRAPH, X.clone(), **flags), X.clone(), range(GRAPH.n), np.ones(GRAPH.n, bool)
    )
    ends = over_edges(GRAPH, 0, 0)
    queues = {pair: SimpleQueue() for pair in zip(ends.sender, ends.receiver, strict=True)}

    def peer(node):
        algorithm, x = ALGORITHMS[name], X[[node]].clone()
        options = algorithm.options(edge_weight=EDGE_WEIGHT)
        setup = Setup(GRAPH, x, Peer(node, x, queues, drop), options, "hold_last", SEED, momentum=0.9)
        return rounds(algorithm.make(setup), x, [node], np.ones(1, bool))

    with ThreadPoolExecutor(GRAPH.n) as threads:
        found = list(threads.map(peer, range(GRAPH.n)))
    models = torch.cat([models for models, _ in found], dim=1)
    torch.testing.assert_close(models, expected, rtol=1e-12, atol=1e-12)
    assert sum(sent for _, sent in found).tolist() == bytes_expected.tolist()
    assert all(queue.empty() for queue in queues.values())
