"""A strategy may be a reduction of each neighbourhood instead of coefficients, as a median is."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dml import config, experiment, results
from dml.algorithms.algorithm import Setup
from dml.algorithms.decentralized import ALGORITHM
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.coefficients.strategies import STRATEGIES, Strategy
from dml.exchange import sums
from dml.exchange.in_memory import InMemory
from dml.topology import make

N, P = 9, 700
GRAPH = make("barabasi_albert:n=9,m=2,seed=2")


def median(vectors, own):
    """numpy's median: the mean of the two values in the middle of an even number of them."""
    return vectors.quantile(0.5, dim=1)


def median_of_differences(vectors, own):
    """A reduction that knows which vector is the node's own."""
    mine = vectors[torch.arange(len(vectors)), torch.from_numpy(own)]
    return mine + 0.5 * (vectors - mine[:, None]).quantile(0.5, dim=1)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "median", Strategy(reduction=median))
    monkeypatch.setitem(STRATEGIES, "differences", Strategy(reduction=median_of_differences))


@pytest.mark.parametrize("name", ["median", "differences"])
@pytest.mark.parametrize("weight", [1.0, 0.5], ids=["all arrive", "half arrive"])
@pytest.mark.parametrize("attacked", [False, True])
def test_each_node_takes_the_median_of_what_it_has_received(
    monkeypatch: pytest.MonkeyPatch, name: str, weight: float, attacked: bool
) -> None:
    """Against numpy, node by node, in several chunks of columns; nodes that do not take part keep theirs."""
    monkeypatch.setattr(sums, "CACHE_BYTES", 1)
    rng = np.random.default_rng(0)
    graph = GRAPH.with_weights(np.full(GRAPH.m, weight), "failing")
    X = torch.from_numpy(rng.normal(size=(N, P)))

    def lie(vectors, sender, receiver, columns, t):
        return torch.where(torch.from_numpy(sender == 0)[:, None], -5 * vectors, vectors)

    exchange = InMemory(graph, X, seed=3, outgoing=lie if attacked else None)
    strategy = StrategyConfig(aggregation_strategy=name)
    coefficients = StrategyCoefficients(graph, exchange.links, strategy, exchange.headers, 3)
    setup = Setup(graph, X, exchange, ALGORITHM.options(), "renormalise", 3, coefficients=coefficients)
    rule, x = ALGORITHM.make(setup), X.numpy().copy()
    for t in range(3):
        takes_part = rng.random(N) < 0.7
        rule.before(X, t, takes_part)
        with torch.no_grad():
            rule.after(X, t, 0.1)
        links, arrived = exchange.links, exchange.links.arrived(t)
        new = x.copy()
        for i in np.flatnonzero(takes_part):
            senders = links.sender[arrived & (links.receiver == i)]
            got = [x[i], *(-5 * x[j] if attacked and j == 0 else x[j] for j in senders)]
            new[i] = np.median(got, axis=0)
            if name == "differences":
                new[i] = x[i] + 0.5 * np.median(np.array(got) - x[i], axis=0)
        x = new
        np.testing.assert_allclose(X.numpy(), x, rtol=0, atol=1e-12)
        heard_by = [takes_part[list(graph.graph()[i])].sum() for i in range(N)]
        assert rule.traffic().sent.tolist() == [4 * P * k for k in heard_by]


def test_an_experiment_runs_a_reduction_like_any_other_strategy(tmp_path: Path) -> None:
    """One round without training: the models of the checkpoint are the medians of those at the start."""
    flags = {"topology_file": "star:n=4", "train": False, "rounds": 1, "threads": 1, "init": "different"}
    models = {}
    for name in ("test_agg", "median"):
        made = config.make({**flags, "aggregation_strategy": name, "out_dir": tmp_path / name})
        path = experiment.run(made)
        assert results.load(path).attributes["status"] == "complete"
        with h5py.File(path.with_suffix(".ckpt")) as file:
            models[name] = file["X"][:]
    start = models["test_agg"]
    np.testing.assert_allclose(models["median"][0], np.median(start, axis=0), rtol=0, atol=1e-6)
    for leaf in (1, 2, 3):
        np.testing.assert_allclose(models["median"][leaf], start[[0, leaf]].mean(0), rtol=0, atol=1e-6)


def test_a_strategy_is_of_one_kind() -> None:
    for both_or_none in ({}, {"coefficients": lambda ctx: None, "reduction": median}):
        with pytest.raises(ValueError, match="either coefficients or a reduction"):
            Strategy(**both_or_none)
