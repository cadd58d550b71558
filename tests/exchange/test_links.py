"""Links may change from round to round, point one way only, and number their messages one by one."""

import numpy as np
import pytest
import torch
from rules import after, before
from scipy.sparse import csr_array

from dml import randomness
from dml.algorithms.algorithm import Setup
from dml.algorithms.averaging_rule import AveragingRule
from dml.algorithms.build import build
from dml.algorithms.push_sum import ALGORITHM as PUSH_SUM
from dml.exchange.in_memory import InMemory
from dml.exchange.links import Links, over_edges
from dml.topology import averaging, make

N, P, SEED = 6, 3, 4
GRAPH = make("complete:n=6")
W = averaging.averaging(GRAPH).toarray()


def matching(t: int) -> dict[tuple[int, int], int]:
    """Which directed links there are in round t: each node meets one other, another one in each round."""
    order = np.random.default_rng(t).permutation(N).tolist()
    pairs = list(zip(order[::2], order[1::2], strict=True))
    return dict.fromkeys([*pairs, *(pair[::-1] for pair in pairs)], 1)


def present(t: int) -> np.ndarray:
    links, now = over_edges(GRAPH, 0, 0), matching(t)
    return np.array([pair in now for pair in zip(links.receiver, links.sender, strict=True)])


def start() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, P))


def noise(t: int) -> np.ndarray:
    return np.random.default_rng([t, 1]).standard_normal((N, P))


@pytest.mark.parametrize("loss_rule", ["hold_last", "self_weight", "renormalise"])
def test_dpsgd_over_links_of_each_round_is_the_plain_loop(loss_rule: str) -> None:
    """A link that is not there in a round counts as one whose message is lost, but carries no bytes."""
    X = torch.from_numpy(start())
    rule = build("dpsgd", GRAPH, X, loss_rule=loss_rule, present=present)
    x, last = start(), {}
    for t in range(10):
        X.add_(torch.from_numpy(noise(t)))
        traffic = after(rule, X, t, 0.1)
        h, now = x + noise(t), matching(t)
        x = np.zeros_like(h)
        for i in range(N):
            total = W[i, i]
            x[i] = W[i, i] * h[i]
            for j in set(range(N)) - {i}:
                if (i, j) in now:
                    last[i, j] = message = h[j]
                elif loss_rule == "hold_last":
                    message = last.get((i, j), h[i])
                elif loss_rule == "self_weight":
                    message = h[i]
                else:
                    continue
                x[i] += W[i, j] * message
                total += W[i, j]
            x[i] /= total
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-13)
        assert traffic.sent.tolist() == [4 * P] * N
        assert traffic.edges.sum() == 4 * P * N


def test_coefficients_of_each_round_go_over_the_links_of_that_round() -> None:
    """With weights of 1/2 in a matching, each pair has one model afterwards."""
    X = torch.from_numpy(start())
    links = over_edges(GRAPH, 0, 0)

    def half(t, arrived):
        dense = np.eye(N) / 2
        dense[links.receiver[arrived], links.sender[arrived]] = 1 / 2
        return csr_array(dense)

    exchange = InMemory(GRAPH, X, present=present)
    rule = AveragingRule(exchange, exchange.average(half, "renormalise"))
    x = start()
    for t in range(5):
        before(rule, X, t)
        after(rule, X, t, 0.1)
        x = np.stack([(x[i] + x[j]) / 2 for i, j in sorted(matching(t))])
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-14)


def test_links_that_change_have_one_message_per_round() -> None:
    links = over_edges(GRAPH, 0, 0, present=present)
    with pytest.raises(ValueError, match="links that change from round to round have one message per round"):
        links.arrived(np.zeros(len(links), np.int64))


# A ring in one direction, with two shortcuts: nodes have different numbers of receivers.
ONE_WAY = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (4, 1)]


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_push_sum_over_links_that_point_one_way_is_the_plain_loop_and_reaches_the_mean(drop: float) -> None:
    X, (sender, receiver) = torch.from_numpy(start()), np.array(ONE_WAY).T
    links = Links(GRAPH, receiver, sender, np.full(len(sender), -1), drop, SEED)
    rule = PUSH_SUM.make(Setup(GRAPH, X, InMemory(GRAPH, X, links=links), PUSH_SUM.options(), "self_weight"))
    out = np.bincount(sender)
    x, w, mean = start(), np.ones(N), start().mean(0)
    for t in range(150):
        before(rule, X, t)
        traffic = after(rule, X, t, 0.1)
        shares, parts = x / (1 + out)[:, None], w / (1 + out)
        x, w = shares.copy(), parts.copy()
        for i, j in ONE_WAY:
            arrives = randomness.uniforms(SEED, "link", t, j, i)[0] < 1 - drop
            x[j if arrives else i] += shares[i]
            w[j if arrives else i] += parts[i]
        np.testing.assert_allclose(X.numpy(), x / w[:, None], rtol=0, atol=1e-12)
        assert traffic.sent.tolist() == (4 * (P + 1) * out).tolist()
    np.testing.assert_allclose(X.numpy(), np.tile(mean, (N, 1)), rtol=0, atol=1e-9)
    # Without the weights, nodes that hear more would count for more.
    assert w.max() > 1.2 * w.min()


def gossip_in_pairs(meetings: list[tuple[int, int]], drop: float) -> tuple[torch.Tensor, list[list[bool]]]:
    """Pairs of nodes meet one after another; the k-th meeting of a pair sends the k-th message of each link.

    Returns the models, and for each edge which of the first node's messages arrived.
    """
    X = torch.from_numpy(start())
    exchange = InMemory(GRAPH, X, seed=SEED, drop=drop)
    links = exchange.send(np.arange(GRAPH.m)).links
    numbers = np.zeros(len(links), np.int64)
    heard = [[] for _ in range(GRAPH.m)]
    edge_of = {tuple(edge): k for k, edge in enumerate(GRAPH.edges.tolist())}
    for i, j in meetings:
        there, back = edge_of[i, j], edge_of[i, j] + GRAPH.m
        arrived = links.arrived(numbers)
        old = X.clone()
        if arrived[there]:
            X[j] = (old[i] + old[j]) / 2
        if arrived[back]:
            X[i] = (old[i] + old[j]) / 2
        heard[there].append(bool(arrived[there]))
        numbers[[there, back]] += 1
    return X, heard


def test_the_messages_of_a_link_are_numbered_by_the_link_whatever_else_happens() -> None:
    rng = np.random.default_rng(0)
    meetings = [tuple(GRAPH.edges[k].tolist()) for k in rng.integers(GRAPH.m, size=120)]
    later = [meetings[k] for k in rng.permutation(len(meetings))]
    X, heard = gossip_in_pairs(meetings, 0.4)
    Y, heard_later = gossip_in_pairs(later, 0.4)
    # In another order, pairs meet when their models are others, but lose the same ones of their messages.
    assert heard == heard_later
    assert not torch.allclose(X, Y)
    for (i, j), arrived in zip(GRAPH.edges.tolist(), heard, strict=True):
        keyed = [bool(randomness.uniforms(SEED, "link", k, j, i)[0] < 0.6) for k in range(len(arrived))]
        assert arrived == keyed
    assert 0 < sum(map(sum, heard)) < len(meetings)


def test_without_loss_pairwise_averages_are_those_of_the_plain_loop() -> None:
    meetings = [tuple(GRAPH.edges[k].tolist()) for k in range(GRAPH.m)] * 6
    x = start()
    for i, j in meetings:
        x[i] = x[j] = (x[i] + x[j]) / 2
    X, _ = gossip_in_pairs(meetings, 0.0)
    np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-14)
    np.testing.assert_allclose(X.numpy(), np.tile(start().mean(0), (N, 1)), rtol=0, atol=1e-2)
