"""Metropolis-Hastings weights, and edge weights that are chosen."""

import numpy as np
import pytest

from dml.errors import InputError
from dml.topology import make
from dml.topology.averaging import averaging


def test_metropolis_hastings_is_symmetric_and_doubly_stochastic():
    t = make("barabasi_albert:n=33,m=2,seed=0")
    W = averaging(t).toarray()
    assert (W == W.T).all()
    np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
    assert (W.diagonal() > 0).all()
    i, j = t.edges[0]
    assert W[i, j] == 1 / (1 + max(t.degree[i], t.degree[j]))
    linked = np.zeros_like(W, bool)
    linked[tuple(t.edges.T)] = True
    np.testing.assert_array_equal(W > 0, linked | linked.T | np.eye(33, dtype=bool))


def test_a_weight_may_use_up_all_of_a_node():
    topology = make("cycle:n=4")
    assert averaging(topology, 0.5).diagonal().tolist() == [0] * 4
    for weight in (0.0, -0.1, 0.51, float("nan")):
        with pytest.raises(InputError, match="edge_weight"):
            averaging(topology, weight)
