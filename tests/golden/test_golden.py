"""Numbers move on purpose only: losses of small runs, held against those that are kept in ``losses.json``.

The file was made at commit 2afbd63 on one thread of an AMD EPYC by ``python tests/golden/cases.py``.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from golden.cases import CASES, FILE, QUADRATICS, measure, measure_quadratics

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))


def assert_golden(name: str, found: dict[str, list[float]]) -> None:
    # Processors differ in how they round to bfloat16 within a product.
    tolerance = 1e-2 if "bf16" in name else 1e-6
    assert found.keys() == GOLDEN[name].keys()
    for key, kept in GOLDEN[name].items():
        expected = np.array([np.nan if value is None else value for value in kept])
        np.testing.assert_allclose(found[key], expected, rtol=tolerance, atol=tolerance, err_msg=key)


def test_every_kept_case_is_measured():
    assert GOLDEN.keys() == {*CASES, *QUADRATICS}


@pytest.mark.parametrize("name", CASES)
def test_the_losses_of_small_experiments_are_those_that_are_kept(name: str, tmp_path: Path):
    assert_golden(name, measure(CASES[name], tmp_path))


@pytest.mark.parametrize("name", QUADRATICS)
def test_the_errors_on_random_quadratics_are_those_that_are_kept(name: str):
    assert_golden(name, measure_quadratics(name))
