"""D-PSGD by one matrix and by a strategy that gives the same matrix are one rule, also under loss."""

import numpy as np
import pytest
import torch
from rules import after, before

from dml.algorithms.algorithm import Setup
from dml.algorithms.build import build
from dml.algorithms.dpsgd import ALGORITHM
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.exchange.in_memory import InMemory
from dml.topology import make

GRAPH = make("barabasi_albert:n=8,m=2,seed=1")
SEED, DROP = 3, 0.3


@pytest.mark.parametrize("loss_rule", ["hold_last", "self_weight"])
def test_metropolis_hastings_as_a_matrix_and_as_a_strategy_give_the_same(loss_rule: str) -> None:
    X = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 5)))
    Y = X.clone()
    fixed = build("dpsgd", GRAPH, X, seed=SEED, drop_probability=DROP, loss_rule=loss_rule)
    exchange = InMemory(GRAPH, Y, seed=SEED, drop=DROP)
    strategy = StrategyConfig(aggregation_strategy="metropolis_hastings")
    coefficients = StrategyCoefficients(GRAPH, exchange.links, strategy, exchange.headers, SEED)
    by_strategy = ALGORITHM.make(
        Setup(GRAPH, Y, exchange, ALGORITHM.options(), loss_rule, SEED, coefficients=coefficients)
    )
    lost = 0
    for t in range(12):
        noise = torch.from_numpy(np.random.default_rng([t, 1]).standard_normal((8, 5)))
        traffic = []
        for Z, rule in ((X, fixed), (Y, by_strategy)):
            before(rule, Z, t)
            Z.add_(noise)
            traffic.append(after(rule, Z, t, 0.1))
        torch.testing.assert_close(X, Y, rtol=0, atol=1e-14)
        assert np.array_equal(traffic[0].edges, traffic[1].edges)
        lost += int((~exchange.links.arrived(t)).sum())
    assert lost > 20
