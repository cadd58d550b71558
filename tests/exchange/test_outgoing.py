"""What a node sends to one neighbour may be replaced: only that neighbour sees it, whatever the verb."""

import numpy as np
import pytest
import torch
from rules import after, before
from scipy.sparse import csr_array

from dml.algorithms.build import build
from dml.exchange import sums
from dml.exchange.in_memory import InMemory
from dml.topology import averaging, make

N, P = 6, 700
GRAPH = make("barabasi_albert:n=6,m=2,seed=3")
W = averaging.averaging(GRAPH).toarray()
LIAR, VICTIM = (int(node) for node in GRAPH.edges[0])


def lie(vectors, sender, receiver, columns, t):
    """The liar tells its victim the negative of its vector, plus the round and the number of the column."""
    attacked = (sender == LIAR) & (receiver == VICTIM)
    places = torch.arange(columns.start, columns.stop, dtype=vectors.dtype)
    return torch.where(torch.from_numpy(attacked)[:, None], t + places - vectors, vectors)


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors pass in several chunks, and by sums over entries."""
    monkeypatch.setattr(sums, "CACHE_BYTES", 1)
    monkeypatch.setattr(sums, "LEAST_PRODUCTS", 0)


def start() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, P))


def told(x: np.ndarray, t: int) -> np.ndarray:
    """What the victim hears from the liar instead of x[LIAR]."""
    return t + np.arange(P) - x[LIAR]


@pytest.mark.parametrize("given", [False, True], ids=["fixed", "of each round"])
def test_an_average_has_the_replaced_vector_where_the_true_one_would_be(given: bool) -> None:
    X, x, coefficients = torch.from_numpy(start()), start(), csr_array(W)
    exchange = InMemory(GRAPH, X, outgoing=lie)
    average = exchange.average((lambda t, arrived: coefficients) if given else coefficients, "renormalise")
    for t in range(3):
        average(X, t)
        wrong = W[VICTIM, LIAR] * (told(x, t) - x[LIAR])
        x = W @ x
        x[VICTIM] += wrong
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-9)
    assert np.abs(wrong).max() > 1


def test_what_is_held_for_lost_messages_is_what_was_told() -> None:
    """Under hold_last the victim repeats the lie, and not the liar's vector."""
    failing = GRAPH.with_weights(np.where(np.arange(GRAPH.m) == 0, 0.5, 1.0), "failing")
    X, x, last = torch.from_numpy(start()), start(), {}
    exchange = InMemory(failing, X, outgoing=lie)
    average = exchange.average(csr_array(W), "hold_last")
    recalled = 0
    for t in range(12):
        average(X, t)
        links, arrived = exchange.links, exchange.links.arrived(t)
        new = np.diag(W)[:, None] * x
        for receiver, sender, comes in zip(links.receiver, links.sender, arrived, strict=True):
            if comes:
                attacked = (sender, receiver) == (LIAR, VICTIM)
                last[receiver, sender] = told(x, t) if attacked else x[sender]
            recalled += not comes and (receiver, sender) == (VICTIM, LIAR) and (VICTIM, LIAR) in last
            new[receiver] += W[receiver, sender] * last.get((receiver, sender), x[receiver])
        x = new
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-9)
    assert recalled > 2


def test_gathered_vectors_are_the_true_ones_but_for_the_attacked_link() -> None:
    X = torch.from_numpy(start())
    received = InMemory(GRAPH, X, outgoing=lie).gather(X, 7)
    seen = 0
    for part in received.chunks():
        table = received.table(part).numpy()
        for receiver, sender, row in zip(received.receiver, received.sender, received.row, strict=True):
            attacked = (sender, receiver) == (LIAR, VICTIM)
            expected = told(start(), 7) if attacked else start()[sender]
            np.testing.assert_array_equal(table[row], expected[part])
            seen += attacked
        np.testing.assert_array_equal(table[:N], start()[:, part])
    assert seen > 1, "the attack is seen in each of several chunks"


def test_a_channel_carries_the_replaced_message() -> None:
    X = torch.zeros(N, P, dtype=torch.float64)
    channel = InMemory(GRAPH, X, outgoing=lie).send(np.arange(GRAPH.m))
    links, messages = channel.links, torch.from_numpy(np.random.default_rng(1).normal(size=(2 * GRAPH.m, 9)))
    carried = channel.carry(messages, links.sender, links.receiver, slice(20, 29), 3)
    attacked = (links.sender == LIAR) & (links.receiver == VICTIM)
    assert attacked.sum() == 1
    assert torch.equal(carried[~attacked], messages[~attacked])
    assert torch.equal(carried[attacked], 3 + torch.arange(20, 29) - messages[attacked])


def test_shares_that_are_pushed_are_replaced_too() -> None:
    X = torch.from_numpy(start())
    rule = build("push_sum", GRAPH, X, outgoing=lie)
    before(rule, X, 0)
    after(rule, X, 0, 0.1)
    share = start() / (1 + GRAPH.degree)[:, None]
    weight = 1 / (1 + GRAPH.degree)
    for i in range(N):
        near = GRAPH.graph()[i]
        got = share[i] + sum(told(share, 0) if (j, i) == (LIAR, VICTIM) else share[j] for j in near)
        np.testing.assert_allclose(X[i], got / (weight[i] + sum(weight[j] for j in near)), atol=1e-9)


@pytest.mark.parametrize("name", ["dpsgd", "relaysgd", "push_sum", "gradient_tracking"])
def test_after_one_round_the_victim_alone_differs_from_an_honest_run(name: str) -> None:
    """On a tree, so that relays use the attacked edge."""
    graph = make("chain:n=6")
    liar, victim = 2, 3

    def lie_on_the_chain(vectors, sender, receiver, columns, t):
        attacked = torch.from_numpy((sender == liar) & (receiver == victim))
        return torch.where(attacked[:, None], -vectors, vectors)

    models = []
    for outgoing in (None, lie_on_the_chain):
        X = torch.from_numpy(start())
        rule = build(name, graph, X, outgoing=outgoing)
        before(rule, X, 0)
        X.mul_(0.9)
        after(rule, X, 0, 0.1)
        models.append(X)
    differs = (models[0] - models[1]).abs().amax(1) > 1e-9
    assert differs.nonzero()[:, 0].tolist() == [victim]
