"""The sweeps by name."""

import pytest

from dml.parallel import expansion
from dml.parallel.flags import separated
from dml.parallel.presets.sweeps import SWEEPS

COUNTED_IN_TEST_EXPANSION = {"digits", "paper"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "neg_soft" else [])
        for name in SWEEPS
        if name not in COUNTED_IN_TEST_EXPANSION
    ],
)
def test_presets_hold_as_many_experiments_as_they_say(name):
    made, rest = separated({"preset": name})
    words = SWEEPS[name].about.replace(",", "").split()
    counts = {int(word) for word in words if word.isdigit()}
    assert len(expansion.experiments(made, rest)) in counts | ({18} if name == "quickstart" else set())
