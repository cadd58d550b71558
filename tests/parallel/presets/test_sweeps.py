"""The sweeps by name."""

import pytest

from dml.parallel import expansion
from dml.parallel.flags import separated
from dml.parallel.presets.sweeps import SWEEPS


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n == "neg_soft" else []) for n in SWEEPS]
)
def test_presets_hold_as_many_experiments_as_they_say(name):
    made, rest = separated({"preset": name})
    words = SWEEPS[name].about.replace(",", "").split()
    counts = {int(word) for word in words if word.isdigit()}
    assert len(expansion.experiments(made, rest)) in counts | ({18} if name == "quickstart" else set())
