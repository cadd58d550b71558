"""The factors of pairwise averaging, by their published numbers, and what odd headers do to them."""

import math

import pytest

from dml.algorithms.pairwise.interpolation import METHODS, Header, Interpolation

OPTIONS = {
    "constant": {"mixing_weight": 0.5},
    "linear": {"linear_start": 0.5, "linear_end": 0.05, "linear_updates": 5000},
    "divergence": {"divergence_target": 0.2},
}


def of(name: str, threshold: float = 0.0) -> Interpolation:
    return Interpolation(name, threshold, **OPTIONS.get(name, {}))


def losses(own: float, peer: float) -> tuple[Header, Header]:
    return Header(1, own), Header(1, peer)


def clocks(own: float, peer: float) -> tuple[Header, Header]:
    return Header(own, 1), Header(peer, 1)


@pytest.mark.parametrize(
    ("name", "threshold", "headers", "factor"),
    [
        ("constant", 0.0, losses(3, 7), 0.5),
        ("clock", 0.0, clocks(3, 6), 2 / 3),
        ("loss", 0.0, losses(1, 3), 0.25),
        ("loss", 2.0, losses(1, 3), 0.125),
        ("loss", 1.0, losses(1, 3), 0.25),
        ("linear", 0.0, clocks(0, 1), 0.5),
        ("linear", 0.0, clocks(2500, 1), 0.275),
        ("linear", 0.0, clocks(5000, 1), 0.05),
        ("linear", 0.0, clocks(9000, 1), 0.05),
        ("divergence", 0.0, losses(1, 2), 0.2),
        ("divergence", 0.0, losses(0.1, 0.2), 0.1),
        ("constant", 2.0, losses(1, 3), 0.25),
    ],
)
def test_the_published_factors(name, threshold, headers, factor):
    interpolation = of(name, threshold)
    assert interpolation(*headers) == pytest.approx(factor, abs=1e-15)
    assert interpolation.refused == 0


def test_the_clock_of_a_node_is_mixed_as_its_model_is():
    f = of("clock")(*clocks(3, 6))
    assert f * 6 + (1 - f) * 3 == pytest.approx(5)


def test_the_node_with_the_higher_loss_takes_over_more():
    """As in the published code; its README says the contrary."""
    for name in ("loss", "divergence"):
        assert of(name)(*losses(3, 1)) > 0.5 > of(name)(*losses(1, 3))


@pytest.mark.parametrize("name", ["clock", "loss"])
def test_a_quotient_of_zeros_is_a_half(name):
    assert of(name)(Header(0, 0), Header(0, 0)) == 0.5


def test_a_loss_of_zero_gives_zero_where_the_formula_does():
    assert of("divergence")(*losses(0, 0)) == 0
    assert of("constant", 0.2)(*losses(0, 1)) == 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -1.0, -1e-300])
def test_an_odd_header_gives_zero_and_is_counted(name, odd):
    interpolation, good = of(name, 0.2), Header(4, 2)
    for bad in (Header(odd, 2), Header(4, odd)):
        assert interpolation(good, bad) == 0
        assert interpolation(bad, good) == 0
    assert interpolation.refused == 4
    assert interpolation(good, good) > 0
    assert interpolation.refused == 4


@pytest.mark.parametrize("name", METHODS)
def test_no_finite_header_gives_a_factor_outside_0_and_1(name):
    sizes = (0.0, 5e-324, 1e-160, 1.0, 1e160, 1.7e308)
    for own in sizes:
        for peer in sizes:
            for threshold in (0.0, 1.0):
                f = of(name, threshold)(Header(own, own), Header(peer, peer))
                assert 0 <= f <= 1, (own, peer, threshold)


@pytest.mark.parametrize("name", ["clock", "loss", "divergence"])
def test_equal_headers_of_any_size_give_a_half(name):
    for size in (1e-160, 1.0, 1e160, 1.7e308):
        f = Interpolation(name, **({"divergence_target": 5e-324} if name == "divergence" else {}))
        assert f(Header(size, size), Header(size, size)) == 0.5


def test_factors_are_clamped():
    assert Interpolation("constant", mixing_weight=1.5)(*losses(1, 1)) == 1
    assert Interpolation("constant", mixing_weight=-0.5)(*losses(1, 1)) == 0
