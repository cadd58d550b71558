"""The sweep of single cases."""

import pytest

from dml.parallel import expansion
from dml.parallel.flags import separated
from dml.parallel.presets.relaysgd import ALPHAS, LEARNING_RATES


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        ({}, 333),
        ({"algorithms": ("dpsgd", "relaysgd", "d2"), "topologies": ("cycle:n=16",)}, 54),
        ({"topologies": ("cycle:n=16",), "label_alpha": "0.01", "seeds": (4,)}, 15),
        ({"algorithms": ("quasi_global_momentum",)}, 27),
    ],
)
def test_a_preset_of_single_cases_is_narrowed_by_flags(flags, count):
    """Each case keeps its own learning rate, edge weight and tree."""
    plans = expansion.experiments(*separated({"preset": "relaysgd", **flags}))
    assert len(plans) == count
    for plan in plans:
        key = plan.config.algorithm.algorithm, plan.config.topology.topology_file
        without, with_momentum = LEARNING_RATES[key]
        rates = with_momentum if plan.config.training.momentum else without
        assert plan.config.training.lr == rates[ALPHAS.index(plan.config.data.partition_options.label_alpha)]
        if flags.get("seeds"):
            assert plan.config.run.seed == 4
