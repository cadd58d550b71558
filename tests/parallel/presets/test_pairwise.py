"""The sweep of pairwise averaging."""

from collections import Counter

import pytest

from dml.parallel import expansion
from dml.parallel.flags import separated


def test_every_form_and_interpolation_is_compared_under_equal_conditions():
    plans = expansion.experiments(*separated({"preset": "pairwise"}))
    methods = Counter(
        (
            config.algorithm,
            getattr(config.options, "pairwise_form", ""),
            getattr(config.options, "interpolation", ""),
        )
        for config in (plan.config.algorithm for plan in plans)
    )
    # 2 graphs, 2 rates of loss, 3 seeds; 3 more experiments have nodes that train alone.
    assert set(methods.values()) == {12, 15}
    assert len(methods) == 9
    assert len(plans) == 111
    assert {plan.config.training.lr for plan in plans} == {0.1}
    assert {plan.config.run.rounds * plan.config.training.local_steps for plan in plans} == {600}


@pytest.mark.parametrize(
    ("flags", "count"),
    [({"algorithms": ("dpsgd",)}, 12), ({"topologies": ("complete:n=16",), "seeds": (4,)}, 19)],
)
def test_it_is_narrowed_by_flags(flags, count):
    assert len(expansion.experiments(*separated({"preset": "pairwise", **flags}))) == count
