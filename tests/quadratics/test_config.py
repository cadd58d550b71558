"""What the table of quadratics can be asked for."""

import pytest
from pydantic import ValidationError

from dml.quadratics.config import PUBLISHED, QuadraticsConfig
from dml.validation import input_error


def test_the_default_is_the_published_table():
    config = QuadraticsConfig()
    assert config.algorithms == PUBLISHED
    assert (config.nodes, config.zeta2, config.target) == ((12, 24, 48, 96), (0.01, 1.0), 1e-6)
    assert not config.on_site


@pytest.mark.parametrize(
    ("values", "there"),
    [({"workers": "1"}, False), ({"workers": "2"}, True), ({"parsl_config": "local"}, True)],
)
def test_candidates_run_on_a_site_if_one_or_several_workers_are_named(values, there):
    assert QuadraticsConfig(**values).on_site == there


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zeta2": ("0.1", "-1")}, "zeta2 -1.0: must be at least 0"),
        ({"nodes": ("0",)}, "nodes 0: must be at least 1"),
        ({"nodes": ("1",)}, "zeta2 0.01: must be 0, because a single node cannot differ"),
        ({"d": "1"}, "mu 0.25: must be L = 1.0, because one dimension has one curvature"),
        ({"mu": "2"}, "mu 2.0: the least curvature must be above 0 and at most L = 1.0"),
        ({"algorithms": ("relaysgd",)}, "algorithms relaysgd: name its graph too, as in relaysgd@chain"),
        ({"algorithms": ("relaysgd@",)}, "algorithms relaysgd@: name its graph too"),
        ({"target": "0"}, "target 0: must be above 0"),
        ({"momentum": "1"}, "momentum 1: must be below 1"),
        ({"max_steps": "9"}, "max_steps 9: must be at least 10"),
        ({"tune": "slowest"}, "tune slowest: must be 'fastest' or 'plateau'"),
        ({"json": 3}, "json 3: "),
        ({"site_options": ("a=1",)}, "site_options a=1: needs a site"),
    ],
)
def test_what_cannot_be_right_is_refused(values, message):
    with pytest.raises(ValidationError) as refused:
        QuadraticsConfig(**values)
    assert str(input_error(refused.value, QuadraticsConfig.flags())).startswith(message)
