"""Tables as data: which rows and columns there are, what stands above them, and what their terms mean."""

import math
import statistics
from dataclasses import replace

import pytest

from dml.results.runs import read_runs
from dml.results.strategy_tables import Kind, legend, strategy_tables
from dml.results.tables import summarise


def _tables(files):
    return strategy_tables(summarise(read_runs(files)))


def _names(rows):
    return [row["strategy"] for row in rows]


def test_a_table_shows_columns_by_name(made_up):
    (table,) = _tables([made_up(seed=seed, auc=seed) for seed in range(2)])
    (row,) = table.rows
    assert table.auc == "auc_ood"
    for column in table.columns:
        assert column.name in row
        if column.kind is Kind.AUC:
            assert row[f"{column.name}_std"] > 0
        if column.kind is Kind.ACCURACY:
            assert 0 <= row[column.name] <= 1
    shown = {column.heading: row[column.name] for column in table.columns}
    assert (shown["runs"], shown["OOD AUC"], shown["IID AUC"], shown["IID"]) == (2, 0.5, 1.0, 0.75)


def test_experiments_without_ood_data_have_columns_of_the_iid_test_set_only(made_up):
    (table,) = _tables([made_up(ood_node=None)])
    assert table.auc == "auc_test"
    assert [column.name for column in table.columns] == ["runs", "auc_test", "final_test", "worst_test"]


def test_controls_are_one_row_below_the_runs_whose_floor_they_are(with_controls):
    (table,) = _tables(with_controls)
    (part,) = table.topologies
    assert _names(part.rows) == ["unweighted", "degCent"]
    control = part.control
    assert (control["runs"], control["auc_ood"]) == (2, 10)
    assert control["auc_ood_std"] == pytest.approx(math.sqrt(8))
    assert control["worst_ood"] == pytest.approx(0.15)
    assert math.isnan(control["over_unweighted"])


def test_a_control_row_is_over_all_runs(made_up):
    """Its mean and deviation are those of the single runs, however many each strategy has."""
    aucs = {("unweighted", 0): 5.0, ("unweighted", 1): 9.0, ("unweighted", 2): 10.0, ("degCent", 0): 20.0}
    files = [made_up(strategy, seed, None, auc) for (strategy, seed), auc in aucs.items()]
    files += [made_up(strategy, seed, 0, 60) for strategy, seed in aucs]
    control = _tables(files)[0].topologies[0].control
    assert control["runs"] == 4
    assert control["auc_ood"] == pytest.approx(statistics.mean(aucs.values()))
    assert control["auc_ood_std"] == pytest.approx(statistics.stdev(aucs.values()))


def test_a_control_row_pools_only_the_strategies_above_it_that_have_a_floor(with_controls, made_up):
    """So that a half-finished sweep compares like with like."""
    files = [*with_controls, made_up("random", ood_node=None, auc=500), made_up("weighted", auc=60)]
    (table,) = _tables(files)
    assert table.topologies[0].control["auc_ood"] == 10


def test_controls_that_are_no_floor_have_tables_of_their_own(with_controls, made_up):
    (alone,) = _tables([made_up("unweighted", ood_node=None), made_up("degCent", ood_node=None)])
    assert alone.topologies[0].control is None
    # On one topology they are a floor; on the other the runs with OOD data are still to come.
    own, with_ood = _tables([*with_controls, made_up("degCent", ood_node=None, topology="cycle:n=4")])
    assert own.heading.endswith("no OOD data")
    assert [part.topology for part in own.topologies] == ["cycle:n=4"]
    assert [part.topology for part in with_ood.topologies] == ["chain:n=3"]


def test_headings_tell_what_differs_and_nothing_else(made_up):
    headings = [table.heading for table in _tables([made_up(lr=0.05), made_up(lr=0.1)])]
    assert headings == [
        f"digits, 10 rounds x 5 epochs, measured each epoch, lr {lr}, OOD share 0.1" for lr in (0.05, 0.1)
    ]


def test_a_heading_says_that_a_setting_of_other_tables_is_not_read(made_up):
    headings = [table.heading for table in _tables([made_up(), made_up(participation=0.5)])]
    start = "digits, 10 rounds x 5 epochs, measured each epoch, participation"
    assert sorted(headings) == [f"{start} -, OOD share 0.1", f"{start} 0.5, OOD share 0.1"]


def test_a_heading_says_how_often_runs_were_measured(made_up):
    (table,) = _tables([made_up(rounds=10, local_steps=5, eval_every="1")])
    assert table.heading == "digits, 10 rounds x 5 steps, measured each round, OOD share 0.1"


def test_a_learning_rate_that_stands_with_each_method_is_in_no_heading(algorithm_run):
    files = [algorithm_run("dpsgd", 1.0, 0.5, lr=lr) for lr in (0.1, 0.2)]
    headings = [table.heading for table in _tables([*files, algorithm_run("relaysgd", 0.1, 0.5)])]
    assert "digits, 500 rounds x 1 step, measured every 10 rounds, label_alpha 1.0, no OOD data" in headings
    assert not any("lr -" in heading for heading in headings)


def test_the_legend_explains_the_columns_that_are_there(made_up, with_controls):
    iid, ood = made_up(ood_node=None, lr=0.2), made_up()
    assert list(legend(_tables([iid]))) == ["AUC", "IID", "worst"]
    assert list(legend(_tables([ood]))) == ["AUC", "IID, OOD", "worst", "asr", "vs unweighted"]
    assert "OOD" not in " ".join(legend(_tables([iid])).values())
    assert "without OOD data, its IID accuracy" in legend(_tables([iid, ood]))["worst"]
    assert "control" in legend(_tables(with_controls))
    assert "the one model that is delivered" in legend(_tables([iid]), ["multi_walk"])["multi_walk"]


def test_references_stand_last_in_the_table_of_strategies_with_the_same_start(made_up):
    files = [made_up(name, init="same") for name in ("unweighted", "unweighted_fl", "weighted", "degCent")]
    files += [made_up(None, algorithm=name) for name in ("fedavg", "traversal", "centralized")]
    (table,) = _tables(files)
    strategies = ["unweighted_fl", "unweighted", "weighted", "degCent"]
    assert _names(table.rows) == [*strategies, "centralized", "traversal", "fedavg"]
    assert legend((table,))["centralized, traversal"] == "one model, trained on the data of all nodes"
    assert "traversal" in legend(_tables([made_up(None, algorithm="traversal")]))
    assert len(_tables([made_up("unweighted"), files[0], files[-1]])) == 2


def test_an_empty_folder_has_no_tables():
    assert _tables([]) == ()


@pytest.mark.parametrize(
    ("over", "budget", "words"), [("bytes", 12.3e6, "12.3 MB"), ("seconds", 87.234, "87.23 s")]
)
def test_tables_at_equal_cost_say_so_and_until_when(made_up, over, budget, words):
    runs = read_runs([made_up(), made_up("degCent", epochs=5)], over)
    (table,) = strategy_tables(summarise(replace(runs, table=runs.table.assign(budget=budget))))
    assert table.heading == f"digits, 5 epochs, at equal {over}, OOD share 0.1"
    assert [part.budget for part in table.topologies] == [words]
    terms = legend([table])
    assert terms["AUC"].startswith("mean accuracy in percent")
    assert f"from 0 to the {over} above each table" in terms["AUC"]
    assert terms["IID, OOD"] == "accuracies at the last measurement within the budget"
    assert "-" not in terms


def test_the_legend_of_a_table_at_equal_cost_explains_missing_aucs(made_up):
    runs = read_runs([made_up(attributes={"auc_ood": math.nan}), made_up("degCent")], "bytes")
    assert legend(strategy_tables(summarise(runs)))["-"] == (
        "a run has sent nothing, or ends before the budget"
    )
