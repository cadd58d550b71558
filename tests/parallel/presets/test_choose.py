"""Which cases of a sweep the command line names."""

import pytest

from dml.parallel.presets.choose import choose_cases
from dml.parallel.table import Table

CASES = [
    Table.of({"algorithm": "dpsgd", "topology_file": "chain:n=4", "label_alpha": 1.0, "lr": 0.1}),
    Table.of({"algorithm": "dpsgd", "topology_file": "cycle:n=4", "label_alpha": 0.1, "lr": 0.2}),
    Table.of({"algorithm": "d2", "topology_file": "cycle:n=4", "label_alpha": 0.1, "lr": 0.3}),
]


@pytest.mark.parametrize(
    ("asked", "kept", "served"),
    [
        ({}, [0, 1, 2], set()),
        ({"algorithm": ["dpsgd"]}, [0, 1], {"algorithm"}),
        ({"algorithm": ["dpsgd"], "topology_file": ["cycle:n=4"]}, [1], {"algorithm", "topology_file"}),
        ({"label_alpha": ["1"]}, [0], {"label_alpha"}),
        # No case has it, so it replaces the value of all.
        ({"algorithm": ["relaysgd"]}, [0, 1, 2], set()),
        ({"algorithm": ["dpsgd", "relaysgd"]}, [0, 1, 2], set()),
        # The cases do not differ in it any more.
        ({"algorithm": ["d2"], "topology_file": ["cycle:n=4"]}, [2], {"algorithm"}),
        # A learning rate belongs to a case and tells none apart.
        ({"lr": ["0.1"]}, [0, 1, 2], set()),
    ],
)
def test_values_that_cases_differ_in_choose_among_them(asked, kept, served):
    assert choose_cases(CASES, asked) == ([CASES[number] for number in kept], served)


def test_a_sweep_with_lists_is_no_list_of_cases():
    tables = [Table.of({"algorithm": ["dpsgd", "d2"]}), Table.of({"algorithm": "relaysgd"})]
    assert choose_cases(tables, {"algorithm": ["relaysgd"]}) == (tables, set())
