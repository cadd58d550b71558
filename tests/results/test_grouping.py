"""What belongs to the settings that experiments share, and what to the name of a variant."""

import json

import pytest

from dml import config
from dml.results.grouping import Described, assign_tuned_fields, control_of, describe
from dml.results.runs import read_runs
from dml.results.tables import summarise


def _described(**flags):
    made = config.make({"topology_file": "chain:n=3", **flags})
    return describe(made.flat(), made.reads(), made.run.rounds)


def test_factors_of_a_sweep_are_no_settings():
    first = _described(seed=0, aggregation_strategy="degCent")
    factors = {"seed": 1, "aggregation_strategy": "random", "backdoor": True, "backdoor_proportion": 0.2}
    second = _described(**factors)
    assert second.settings == first.settings | {"ood": 0.2}
    assert first.settings["ood"] == 0
    assert _described(rounds=20).settings == first.settings | {"rounds": 20}


def test_a_control_has_the_settings_of_its_runs_but_for_the_ood_data():
    runs, control = _described(backdoor=True), _described()
    assert control_of(runs.settings_json) == control.settings_json == control_of(control.settings_json)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"aggregation_strategy": "degCent"}, "sum"),
        ({"aggregation_strategy": "degCent", "softmax": True, "softmax_coeff": 0.5}, "s=0.5"),
        (
            {"aggregation_strategy": "degCent", "softmax": True, "scheduler": "CA", "T_0": 8},
            "s=10 CA eta_min=1 T_0=8 T_mult=1",
        ),
        ({"aggregation_strategy": "unweighted"}, ""),
        ({"algorithm": "relaysgd"}, ""),
        ({"algorithm": "relaysgd", "tree": "bfs", "overlap": True}, "overlap tree=bfs"),
        ({"algorithm": "traversal"}, ""),
        ({"algorithm": "traversal", "mode": "cut=1"}, "mode=cut=1"),
        ({"algorithm": "split"}, ""),
        ({"algorithm": "splitfed", "mode": "cut=1"}, "mode=cut=1"),
    ],
)
def test_a_variant_is_what_differs_from_the_defaults_of_its_strategy_or_algorithm(flags, words):
    assert _described(**flags).variant == words


def test_an_experiment_goes_by_the_name_of_its_algorithm_or_of_its_strategy():
    assert not _described(aggregation_strategy="degCent").is_algorithm
    assert _described(algorithm="dpsgd").is_algorithm
    assert _described(algorithm="relaysgd").is_algorithm


def test_a_field_without_effect_is_no_setting():
    """So that an experiment that does not read the field stands among those that do."""
    plain, precise = _described(), _described(precision="bf16", participation=0.5)
    assert {"precision", "participation"} & plain.settings.keys() == set()
    assert precise.settings == plain.settings | {"precision": "bf16", "participation": 0.5}
    assert _described(precision="fp32", participation=1.0).settings == plain.settings
    in_place = _described(aggregation_order="in_place")
    assert in_place.settings == plain.settings | {"aggregation_order": "in_place"}


def _run(is_algorithm, **tuned):
    return Described({"rounds": 1, "ood": 0}, "", tuned, is_algorithm)


def test_a_tuned_field_with_one_value_is_a_setting():
    runs = [_run(True, lr=0.1), _run(False, lr=0.1), _run(True)]
    assign_tuned_fields(runs)
    assert [run.settings["lr"] for run in runs] == [0.1] * 3
    assert [run.variant for run in runs] == [""] * 3


def test_a_tuned_field_with_several_values_is_a_setting_of_strategies_and_a_variant_of_algorithms():
    runs = [_run(False, lr=0.1), _run(True, lr=0.2), _run(True, lr=0.3, momentum=0.9, nesterov=True)]
    runs += [_run(True, lr=0.3, momentum=0.0, nesterov=False)]
    assign_tuned_fields(runs)
    assert [run.settings.get("lr") for run in runs] == [0.1, None, None, None]
    assert [run.variant for run in runs] == ["", "lr=0.2", "lr=0.3 momentum=0.9 nesterov", "lr=0.3"]


def test_methods_with_their_own_learning_rates_stand_in_one_table(algorithm_run):
    files = [algorithm_run("dpsgd", 1.0, 0.5, lr=0.1), algorithm_run("relaysgd", 1.0, 0.5, lr=0.2)]
    table = summarise(read_runs(files))
    assert table["settings"].nunique() == 1
    assert set(table["strategy"]) == {"dpsgd", "relaysgd"}


def test_one_learning_rate_for_all_is_a_setting(algorithm_run):
    files = [algorithm_run("dpsgd", 1.0, 0.5), algorithm_run("relaysgd", 1.0, 0.5)]
    table = summarise(read_runs(files))
    assert json.loads(table["settings"].iloc[0])["lr"] == 0.1
    files = [algorithm_run("dpsgd", 1.0, 0.5, lr=lr) for lr in (0.1, 0.2)]
    table = summarise(read_runs([*files, algorithm_run("relaysgd", 0.1, 0.5)]))
    assert {"dpsgd lr=0.1", "dpsgd lr=0.2"} < set(table["strategy"])


def test_strategies_keep_their_learning_rate_among_the_settings(made_up):
    table = summarise(read_runs([made_up(lr=0.1), made_up(lr=0.2)]))
    assert table["settings"].nunique() == 2
    assert set(table["strategy"]) == {"unweighted"}


def test_strategies_and_algorithms_under_one_regime_share_a_table(made_up):
    regime = {"init": "same", "epochs": 2, "momentum": 0.9, "keep_optimizer": True}
    files = [made_up(**regime), made_up(None, algorithm="relaysgd", **regime)]
    assert summarise(read_runs(files))["settings"].nunique() == 1
