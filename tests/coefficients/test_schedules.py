"""Schedules of s: the closed forms equal loops that step, and torch's own scheduler."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from dml.coefficients.config import StrategyConfig
from dml.coefficients.options import ScoreOptions
from dml.coefficients.schedules import SCHEDULES, cosine, exponential, oscillating

values = st.floats(-50, 50)


@given(values, values, st.integers(1, 70), st.integers(1, 4), st.integers(1, 300))
@settings(max_examples=60)
def test_cosine_annealing_equals_torchs_scheduler_stepped_after_each_round(s, eta_min, T_0, T_mult, rounds):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    optimizer.param_groups[0]["lr"] = s  # torch's constructor takes no negative rate
    stepped = CosineAnnealingWarmRestarts(optimizer, T_0, T_mult, eta_min)
    for t in range(rounds):
        expected = optimizer.param_groups[0]["lr"]
        assert cosine(s, t, eta_min=eta_min, T_0=T_0, T_mult=T_mult) == pytest.approx(
            expected, rel=0, abs=1e-12
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimiser was not stepped first
            stepped.step()


def test_cosine_annealing_starts_at_s_and_does_not_lag_by_a_round():
    found = [cosine(10.0, t, eta_min=0.0, T_0=5, T_mult=1) for t in range(6)]
    expected = [10, 9.045084971874736, 6.545084971874737, 3.454915028125263, 0.954915028125263, 10]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_cosine_annealing_far_away_is_exact():
    # After 2 + 4 + .. + 2^40 rounds the 40th restart: no logarithm rounds it away.
    assert cosine(3.0, 2**41 - 2, eta_min=1.0, T_0=2, T_mult=2) == 3.0
    assert cosine(3.0, 2**41 - 3, eta_min=1.0, T_0=2, T_mult=2) == pytest.approx(1.0)


@given(values, st.floats(-5, 60), st.floats(0.5, 1), st.integers(0, 200))
def test_exponential_decay_equals_a_stepped_loop_in_size(s, eta_min, gamma, t):
    size = max(eta_min, abs(s))
    for _ in range(t):
        size = max(eta_min, gamma * size)
    found = exponential(s, t, gamma=gamma, eta_min=eta_min)
    assert found == pytest.approx(math.copysign(size, s), rel=1e-12)


@given(st.floats(1, 50), st.integers(0, 200))
def test_exponential_decay_of_a_positive_s_is_as_published(s, t):
    assert exponential(s, t, gamma=0.95, eta_min=1.0) == max(1.0, 0.95**t * s)


@given(values, st.integers(1, 20), st.integers(0, 200))
def test_oscillation_equals_a_loop_that_flips_the_sign(s, T_0, t):
    expected = s
    for step in range(1, t + 1):
        if step % T_0 == 0:
            expected = -expected
    assert oscillating(s, t, T_0=T_0) == expected


def test_the_configuration_gives_the_s_of_a_round():
    soft = {"aggregation_strategy": "degCent", "softmax": True, "softmax_coeff": 10.0}

    def s(number, **flags):
        return StrategyConfig(**{**soft, **flags}).options.s(number)

    assert s(7, softmax=False) is None
    assert s(7) == 10
    # The published defaults: gamma 0.95, eta_min 1, T_0 66, T_mult 1.
    assert s(7, scheduler="exp") == 10 * 0.95**7
    assert s(700, scheduler="exp") == 1
    assert s(33, scheduler="CA") == pytest.approx(5.5)
    assert s(66, scheduler="CA") == 10
    assert [s(t, scheduler="osc") for t in (0, 65, 66, 131, 132)] == [10, 10, -10, -10, 10]
    assert s(4, scheduler="CA", eta_min=-10.0, T_0=8) == pytest.approx(0)


def test_an_option_that_a_strategy_adds_counts_besides_those_of_scores():
    class Own(ScoreOptions):
        knob: float = 0.5

    assert Own().reads() == {"softmax", "knob"}
    assert Own(softmax=True, scheduler="exp").reads() == {
        *("softmax", "knob", "softmax_coeff", "scheduler"),
        *SCHEDULES["exp"].reads,
    }
