"""The sweeps of Multi-Walk."""

from collections import Counter

import pytest

from dml.parallel import expansion
from dml.parallel.flags import separated


@pytest.mark.parametrize("name", ["multiwalk_topology", "multiwalk_heterogeneity"])
def test_walks_gossip_and_rounds_share_data_steps_and_learning_rate(name):
    plans = expansion.experiments(*separated({"preset": name}))
    methods = Counter(plan.config.algorithm.algorithm for plan in plans)
    assert methods == {"multi_walk": 36, "async_gossip": 9, "dpsgd": 9}
    assert {plan.config.training.lr for plan in plans} == {0.05}
    assert {plan.topology.n * plan.config.run.rounds for plan in plans} == {3000}
    assert len({plan.identity.id for plan in plans}) == 54
    # A single walk in every group, as without it no number of walks can be judged.
    options = [plan.config.algorithm.options for plan in plans]
    assert sum(getattr(each, "walks", 0) == 1 for each in options) == 9
