"""Algorithms side by side: which method is in which row, and what its cells hold."""

import math

import pytest

from dml.algorithms.registry import ALGORITHMS
from dml.results.runs import read_runs
from dml.results.worst_nodes import Cell, worst_node_tables


def _tables(files):
    return worst_node_tables(read_runs(files).table)


def test_a_table_has_one_row_per_method_and_one_column_per_concentration(algorithm_run):
    (table,) = _tables(
        [
            algorithm_run("dpsgd", 1.0, 0.5, seed=0),
            algorithm_run("dpsgd", 1.0, 0.7, seed=1, lr=0.2),
            algorithm_run("dpsgd", 0.1, 0.25),
            algorithm_run("relaysgd", 1.0, 0.875, lr=0.4),
            algorithm_run("relaysgd", 0.1, 0.75, momentum=0.9),
            algorithm_run("relaysgd", 0.1, 0.5, topology="chain:n=4"),
        ]
    )
    assert table.heading == "digits, 500 rounds"
    assert table.alphas == (1.0, 0.1)
    assert {topology: list(methods) for topology, methods in table.topologies.items()} == {
        "cycle:n=4": ["dpsgd", "relaysgd", "relaysgd + momentum"],
        "chain:n=4": ["relaysgd"],
    }
    cycle = table.topologies["cycle:n=4"]
    several, single = cycle["dpsgd"]
    assert (several.mean, several.std) == pytest.approx((0.6, math.sqrt(0.02)))
    assert sorted(several.learning_rates) == [0.1, 0.2]
    assert (single.mean, single.learning_rates) == (0.25, (0.1,))
    assert math.isnan(single.std)
    assert cycle["relaysgd"][1] is None
    assert cycle["relaysgd + momentum"][0] is None
    assert cycle["relaysgd + momentum"][1].mean == 0.75


def test_methods_stand_in_the_order_of_other_tables_with_the_references_last(algorithm_run):
    names = ("centralized", "dpsgd", "fedavg", "relaysgd", "traversal")
    (table,) = _tables([algorithm_run(name, 1.0, 0.5, local_steps=5) for name in names])
    methods = list(table.topologies["cycle:n=4"])
    assert methods == ["dpsgd", "relaysgd", "centralized", "traversal", "fedavg"]


def test_one_run_without_an_accuracy_leaves_no_mean_of_the_others(algorithm_run):
    files = [algorithm_run("dpsgd", 1.0, 0.5), algorithm_run("dpsgd", 1.0, math.nan, seed=1)]
    (table,) = _tables([*files, algorithm_run("relaysgd", 1.0, 0.5)])
    assert math.isnan(table.topologies["cycle:n=4"]["dpsgd"][0].mean)


def test_a_momentum_that_belongs_to_the_algorithm_is_not_named(algorithm_run):
    own = {
        name: entry.defaults["momentum"]
        for name, entry in ALGORITHMS.items()
        if entry.defaults.get("momentum")
    }
    assert own
    files = [algorithm_run(name, 1.0, 0.5) for name in own]
    files += [algorithm_run("dpsgd", 1.0, 0.5, momentum=momentum) for momentum in own.values()]
    (table,) = _tables(files)
    assert set(table.topologies["cycle:n=4"]) == {*own, "dpsgd + momentum"}


def test_variants_with_one_short_name_are_named_in_full(algorithm_run):
    files = [
        algorithm_run("relaysgd", alpha, 0.5, tree=tree, lr=lr)
        for tree, lr in (("min_diameter", 0.1), ("random", 0.2))
        for alpha in (1.0, 0.1)
    ]
    (table,) = _tables(files)
    assert set(table.topologies["cycle:n=4"]) == {"relaysgd tree=min_diameter", "relaysgd tree=random"}


def test_two_methods_at_one_concentration_share_a_column(algorithm_run):
    (table,) = _tables([algorithm_run("dpsgd", 1.0, 0.5), algorithm_run("relaysgd", 1.0, 0.75, lr=0.2)])
    assert table.alphas == (1.0,)
    cells = {name: cell for name, (cell,) in table.topologies["cycle:n=4"].items()}
    assert all(isinstance(cell, Cell) for cell in cells.values())
    assert {name: cell.learning_rates for name, cell in cells.items()} == {
        "dpsgd": (0.1,),
        "relaysgd": (0.2,),
    }


def test_headings_tell_tables_of_other_settings_apart(algorithm_run):
    files = [
        algorithm_run(name, 1.0, 0.5, local_steps=steps) for name in ("dpsgd", "relaysgd") for steps in (1, 8)
    ]
    headings = [table.heading for table in _tables(files)]
    assert headings == [f"digits, 500 rounds, local_steps {steps}" for steps in (1, 8)]


def test_runs_that_compare_no_algorithm_have_no_table(algorithm_run, made_up):
    assert _tables([made_up(label_alpha=alpha) for alpha in (1.0, 0.1)]) == ()
    assert _tables([made_up("unweighted"), made_up("degCent")]) == ()
    assert _tables([algorithm_run("dpsgd", 1.0, 0.5, lr=lr) for lr in (0.1, 0.2)]) == ()
    assert _tables([]) == ()


def test_a_strategy_stands_among_the_algorithms_that_it_is_compared_with(algorithm_run, made_up):
    regime = {"init": "same", "partition": "equal", "label_alpha": 1.0, "lr": 0.1}
    regime |= {"local_steps": 1, "rounds": 500, "eval_every": 10}
    files = [made_up("weighted", ood_node=None, topology="cycle:n=4", **regime)]
    (table,) = _tables([*files, algorithm_run("dpsgd", 1.0, 0.5)])
    assert set(table.topologies["cycle:n=4"]) == {"weighted", "dpsgd"}
