"""The cells of a table, and their way to a worker and back."""

import json
import subprocess
import sys

import pytest

from dml.errors import InputError
from dml.quadratics.config import QuadraticsConfig
from dml.quadratics.setting import Setting, candidate, here, settings


def test_a_table_has_a_cell_for_each_line_number_of_nodes_and_heterogeneity():
    config = QuadraticsConfig(
        algorithms=("d2@torus:cols=3,rows=3", "dpsgd@cycle"), nodes=(9, 12), zeta2=(0.1, 1.0), edge_weight=0.2
    )
    with pytest.raises(InputError, match="torus takes rows, cols, not n"):
        list(settings(config))
    config = config.model_copy(update={"algorithms": ("d2@cycle", "dpsgd@barabasi_albert:m=2")})
    found = list(settings(config))
    assert [title for title, _ in found] == ["d2@cycle"] * 4 + ["dpsgd@barabasi_albert:m=2"] * 4
    cells = [(s.name, s.graph, s.problem["zeta2"], s.options.get("edge_weight")) for _, s in found]
    assert cells[0] == ("d2", "cycle:n=9", 0.1, 0.2)
    assert cells[-1] == ("dpsgd", "barabasi_albert:n=12,m=2", 1.0, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"algorithms": ("sgd@chain",)}, "algorithm sgd: no such algorithm"),
        ({"algorithms": ("dpsgd@moebius",)}, "topology_file moebius:n=12"),
        ({"algorithms": ("d2@star",)}, "edge_weight"),
        ({"algorithms": ("dpsgd@cycle",), "loss_rule": "own"}, "loss_rule own: dpsgd knows"),
    ],
)
def test_an_algorithm_that_does_not_run_is_refused(values, message):
    with pytest.raises(InputError) as refused:
        list(settings(QuadraticsConfig(**values)))
    assert str(refused.value).startswith(message)


def test_a_candidate_of_the_text_is_that_of_the_setting():
    (_, setting), *_ = settings(QuadraticsConfig(algorithms=("dpsgd@cycle",), nodes=(4,), r0=1.0))
    text = setting.to_json()
    again = Setting(**{**json.loads(text), "options": setting.options, "goal": setting.goal})
    assert again.to_json() == text
    assert [candidate(text, 0.5, 20)] == here(setting)([0.5], 20)


def test_wrong_input_is_answered_before_torch_or_parsl_is_imported():
    program = """
import sys
from pathlib import Path
from dml.errors import InputError
from dml.quadratics.main import main
for words in (["--zeta2", "-1"], ["--algorithms", "d2@star"], ["--workers", "0"]):
    try:
        main(words, Path())
    except InputError as error:
        print(error.field, "torch" in sys.modules, "parsl" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "zeta2 False False",
        "edge_weight False False",
        "workers False False",
    ], done.stderr
