"""Which cases of a sweep the command line names."""

import pytest

from dml.errors import InputError
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
        # The cases do not differ in it any more.
        ({"algorithm": ["d2"], "topology_file": ["cycle:n=4"]}, [2], {"algorithm"}),
        # A learning rate belongs to a case and tells none apart.
        ({"lr": ["0.1"]}, [0, 1, 2], set()),
    ],
)
def test_values_that_cases_differ_in_choose_among_them(asked, kept, served):
    assert choose_cases(CASES, asked) == ([CASES[number] for number in kept], served)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"algorithm": ["relaysgd"]}, "algorithm relaysgd: no case .* there are: dpsgd, d2; .* --tune_lr"),
        ({"algorithm": ["dpsgd", "relaysgd"]}, "algorithm relaysgd: no case"),
        ({"label_alpha": [0.5]}, "label_alpha 0.5: no case .* there are: 1.0, 0.1"),
    ],
)
def test_a_value_that_no_case_has_would_get_learning_rates_of_others(asked, told):
    with pytest.raises(InputError, match=told):
        choose_cases(CASES, asked)


def test_a_sweep_with_lists_is_no_list_of_cases():
    tables = [Table.of({"algorithm": ["dpsgd", "d2"]}), Table.of({"algorithm": "relaysgd"})]
    assert choose_cases(tables, {"algorithm": ["relaysgd"]}) == (tables, set())
