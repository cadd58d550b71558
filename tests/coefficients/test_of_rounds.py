"""A strategy may read any scalar that comes with the models, as long as somebody fills it in."""

import numpy as np
import pytest
import torch

from dml.algorithms.algorithm import Setup
from dml.algorithms.decentralized import ALGORITHM
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.coefficients.strategies import STRATEGIES, Strategy, by_score
from dml.exchange.in_memory import InMemory
from dml.topology import make

N, P = 7, 5
GRAPH = make("barabasi_albert:n=7,m=2,seed=0")


@pytest.fixture
def _strategies_that_read_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_loss(ctx):
        return by_score(ctx, 1 / ctx.headers["loss"], None)

    def by_samples_and_loss(ctx):
        return by_score(ctx, ctx.headers["samples"] / ctx.headers["loss"], None)

    monkeypatch.setitem(STRATEGIES, "by_loss", Strategy(by_loss, steady=False))
    monkeypatch.setitem(STRATEGIES, "by_samples_and_loss", Strategy(by_samples_and_loss, steady=False))


@pytest.mark.usefixtures("_strategies_that_read_headers")
@pytest.mark.parametrize("name", ["by_loss", "by_samples_and_loss"])
def test_coefficients_follow_headers_that_change_from_round_to_round(name: str) -> None:
    """The same rule and exchange throughout: only the header is filled in again before each round."""
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(N, P)))
    exchange = InMemory(GRAPH, X)
    exchange.headers["samples"] = samples = rng.integers(1, 100, size=N).astype(float)
    config = StrategyConfig(aggregation_strategy=name)
    coefficients = StrategyCoefficients(GRAPH, exchange.links, config, exchange.headers, 0)
    rule = ALGORITHM.make(
        Setup(GRAPH, X, exchange, ALGORITHM.options(), "renormalise", coefficients=coefficients)
    )
    x = X.numpy().copy()
    for t in range(4):
        exchange.headers["loss"] = loss = rng.uniform(0.1, 3, size=N)
        rule.before(X, t, np.ones(N, bool))
        with torch.no_grad():
            rule.after(X, t, 0.1)
        score = (samples if name == "by_samples_and_loss" else 1) / loss
        near = [[i, *GRAPH.graph()[i]] for i in range(N)]
        x = np.stack([sum(score[j] * x[j] for j in hood) / sum(score[j] for j in hood) for hood in near])
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-13)


def test_steady_coefficients_are_computed_once_until_a_message_is_lost() -> None:
    exchange = InMemory(GRAPH, torch.zeros(N, P))
    coefficients = StrategyCoefficients(GRAPH, exchange.links, StrategyConfig(), {}, 0)
    everything = np.ones(len(exchange.links), bool)
    first = coefficients(0, everything)
    assert coefficients(1, everything) is first
    lost = everything.copy()
    lost[0] = False
    receiver, sender = exchange.links.receiver[0], exchange.links.sender[0]
    assert coefficients(2, lost).toarray()[receiver, sender] == 0 != first.toarray()[receiver, sender]
    np.testing.assert_array_equal(coefficients(3, everything).toarray(), first.toarray())


def test_a_node_that_does_not_take_part_has_a_row_of_the_identity() -> None:
    exchange = InMemory(GRAPH, torch.zeros(N, P))
    coefficients = StrategyCoefficients(GRAPH, exchange.links, StrategyConfig(), {}, 0)
    coefficients.taking_part = np.arange(N) != 2
    C = coefficients(0, np.ones(len(exchange.links), bool)).toarray()
    assert C[2].tolist() == np.eye(N)[2].tolist()
    np.testing.assert_allclose(C.sum(1), 1, rtol=1e-15)
    assert (np.delete(C, 2, axis=0).max(1) < 1).all()
