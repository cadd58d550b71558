"""The laws of compute times against those of scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dml import randomness
from dml.clock import laws
from dml.clock.laws import Law, parse

SCIPY = {
    "exponential:2": stats.expon(scale=2),
    "lognormal:1,0.5": stats.lognorm(0.5, scale=np.exp(-0.125)),
    "lognormal:3,1.2": stats.lognorm(1.2, scale=3 * np.exp(-0.72)),
    "pareto:1,2.5": stats.pareto(2.5, scale=0.6),
    "pareto:0.01,1.5": stats.pareto(1.5, scale=0.01 / 3),
}
"""The same distributions by the parameters that scipy has for them."""


@pytest.mark.parametrize("text", SCIPY)
def test_quantiles_are_those_of_scipy(text):
    u = np.concatenate(
        [np.linspace(0, 1, 999)[1:-1], 2.0 ** -np.arange(10, 54), 1 - 2.0 ** -np.arange(10, 54)]
    )
    assert parse(text).seconds(u) == pytest.approx(SCIPY[text].ppf(u), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("text", SCIPY)
def test_the_first_parameter_is_the_mean(text):
    law = parse(text)
    assert SCIPY[text].mean() == pytest.approx(law.mean, rel=1e-12)
    drawn = law.seconds(randomness.uniforms(1, "compute time", 0, np.arange(400_000), 0))
    if text != "pareto:0.01,1.5":  # whose variance is infinite
        spread = SCIPY[text].std() / np.sqrt(len(drawn))
        assert abs(drawn.mean() - law.mean) < 4 * spread
    assert stats.kstest(drawn[:20_000], SCIPY[text].cdf).pvalue > 1e-3


def test_the_least_numbers_have_times_too():
    for text in SCIPY:
        at_zero, above = parse(text).seconds(np.array([0, 2.0**-53]))
        assert 0 <= at_zero <= above < parse(text).seconds(np.array([1e-6]))[0]


def test_a_constant_is_always_the_same_time():
    assert parse("constant:0.25").seconds(np.linspace(0, 1, 7, endpoint=False)).tolist() == [0.25] * 7


def test_a_lognormal_law_without_spread_is_a_constant():
    assert parse("lognormal:2,0").seconds(np.array([0, 0.1, 0.9])) == pytest.approx(2)


@given(
    st.sampled_from(list(laws.LAWS)),
    st.floats(laws.LEAST, laws.MOST),
    st.floats(laws.LEAST, laws.MOST),
    st.floats(0, 1, exclude_max=True),
)
def test_every_time_is_a_number(name, mean, shape, u):
    second = None if laws.LAWS[name] is None else (1 + shape if name == "pareto" else shape)
    with np.errstate(under="ignore"):
        (seconds,) = Law(name, mean, second).seconds(np.array([u]))
    assert np.isfinite(seconds)
    assert seconds >= 0


@pytest.mark.parametrize(
    ("text", "same"),
    [("constant:1.0", "constant:1"), ("pareto:1e0,2.50", "pareto:1,2.5"), ("lognormal:1,0", "lognormal:1,0")],
)
def test_the_same_law_has_the_same_text(text, same):
    assert str(parse(text)) == same
    assert parse(same) == parse(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", "is no law of times; take one of: constant:MEAN, exponential:MEAN"),
        ("uniform:1", "is no law of times"),
        ("Constant:1", "is no law of times"),
        ("constant", "MEAN must be a number, and nothing is none"),
        ("constant:", "MEAN must be a number"),
        ("constant:1,2", "must be of the form constant:MEAN"),
        ("constant:0", "MEAN must be at least 1e-30"),
        ("exponential:-1", "MEAN must be at least 1e-30"),
        ("exponential:nan", "MEAN must be at least 1e-30"),
        ("exponential:inf", "at most 1e30"),
        ("exponential:1_0", "MEAN must be in plain digits"),
        ("lognormal:1", "must be of the form lognormal:MEAN,SIGMA"),
        ("lognormal:1,-0.5", "SIGMA must be 0, or at least 1e-30"),
        ("lognormal:1,nan", "SIGMA must be 0, or at least 1e-30"),
        ("pareto:1", "must be of the form pareto:MEAN,INDEX"),
        ("pareto:1,1", "INDEX must be above 1"),
        ("pareto:1,0.5", "INDEX must be above 1"),
        ("pareto:1,x", "INDEX must be a number, and x is none"),
        ("pareto:1,2,3", "must be of the form pareto:MEAN,INDEX"),
    ],
)
def test_impossible_laws_are_refused_in_words(text, right):
    with pytest.raises(ValueError, match=right) as error:
        parse(text)
    assert "\n" not in str(error.value)
