"""Algorithms side by side: who stands in which row, and what its cells say."""

import json

import pytest

from dml.results import methods, report, settings, tables


@pytest.fixture
def run(made_up):
    """A file of one algorithm at one concentration of the labels."""

    def make(algorithm, alpha, worst, *, lr=0.1, seed=0, topology="cycle:n=4", **flags):
        return made_up(
            None,
            seed,
            None,
            topology=topology,
            algorithm=algorithm,
            label_alpha=alpha,
            lr=lr,
            partition="equal",
            attributes={"worst_test": worst},
            **flags,
        )

    return make


def test_the_table_has_a_row_a_method_and_a_column_a_concentration(run):
    files = [
        run("dpsgd", 1.0, 0.5, seed=0),
        run("dpsgd", 1.0, 0.7, seed=1),
        run("dpsgd", 0.1, 0.25),
        run("relaysgd", 1.0, 0.875, lr=0.4),
        run("relaysgd", 0.1, 0.75, momentum=0.9),
        run("relaysgd", 0.1, 0.5, topology="chain:n=4"),
    ]
    lines = methods.text(tables.collect(files).table).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "digits, 500 rounds: accuracy of the worst node in % (learning rate)"
    assert words[1] == "alpha 1 alpha 0.1"
    assert words[2:] == [
        "cycle:n=4",
        "dpsgd 60.0±14.1 (0.1) 25.0 (0.1)",
        "relaysgd 87.5 (0.4) -",
        "relaysgd + momentum - 75.0 (0.1)",
        "chain:n=4",
        "relaysgd - 50.0 (0.1)",
    ]
    assert max(map(len, lines)) <= 80


def test_variants_that_the_short_name_does_not_tell_apart_are_named_in_full(run):
    files = [
        run("relaysgd", alpha, 0.5, tree=tree, lr=lr)
        for tree, lr in (("min_diameter", 0.1), ("random", 0.2))
        for alpha in (1.0, 0.1)
    ]
    text = methods.text(tables.collect(files).table)
    assert "relaysgd tree=min_diameter" in text
    assert "relaysgd tree=random" in text


def test_two_methods_at_one_concentration_stand_in_one_column(run):
    text = methods.text(tables.collect([run("dpsgd", 1.0, 0.5), run("relaysgd", 1.0, 0.75, lr=0.2)]).table)
    assert [" ".join(line.split()) for line in text.split("\n")] == [
        "digits, 500 rounds: accuracy of the worst node in % (learning rate)",
        "alpha 1",
        "cycle:n=4",
        "dpsgd 50.0 (0.1)",
        "relaysgd 75.0 (0.2)",
    ]


def test_tables_of_other_settings_say_which_they_are(run):
    files = [run(a, 1.0, 0.5, local_steps=steps) for a in ("dpsgd", "relaysgd") for steps in (1, 8)]
    lines = methods.text(tables.collect(files).table).splitlines()
    headings = [line.split(":")[0] for line in lines if line.startswith("digits")]
    assert headings == [f"digits, 500 rounds, local_steps {steps}" for steps in (1, 8)]
    assert max(map(len, lines)) <= 80


def test_what_compares_no_other_algorithm_has_no_table(run, made_up):
    files = [made_up(label_alpha=alpha) for alpha in (1.0, 0.1)]
    assert methods.text(tables.collect(files).table) == ""
    strategies = [made_up("unweighted"), made_up("degCent")]
    assert methods.text(tables.collect(strategies).table) == ""
    one_method = [run("dpsgd", 1.0, 0.5, lr=0.1), run("dpsgd", 1.0, 0.5, lr=0.2)]
    assert methods.text(tables.collect(one_method).table) == ""


def test_methods_at_their_own_learning_rates_stand_in_one_table(run):
    table = tables.summarise(
        tables.collect([run("dpsgd", 1.0, 0.5, lr=0.1), run("relaysgd", 1.0, 0.5, lr=0.2)])
    )
    assert table["settings"].nunique() == 1
    assert set(table["strategy"]) == {"dpsgd", "relaysgd"}


def test_one_learning_rate_for_all_is_a_setting(run):
    table = tables.summarise(tables.collect([run("dpsgd", 1.0, 0.5), run("relaysgd", 1.0, 0.5)]))
    assert json.loads(table["settings"].iloc[0])["lr"] == 0.1
    both = [run("dpsgd", 1.0, 0.5, lr=lr) for lr in (0.1, 0.2)]
    table = tables.summarise(tables.collect([*both, run("relaysgd", 0.1, 0.5)]))
    assert {"dpsgd lr=0.1", "dpsgd lr=0.2"} < set(table["strategy"])
    text = report.text(table)
    assert "digits, 500 rounds x 1 step, measured every 10 rounds, label_alpha 1.0" in " ".join(text.split())
    assert "lr -" not in text


def test_strategies_keep_their_learning_rate_among_the_settings(made_up):
    table = tables.summarise(tables.collect([made_up(lr=0.1), made_up(lr=0.2)]))
    assert table["settings"].nunique() == 2
    assert set(table["strategy"]) == {"unweighted"}


def test_strategies_and_algorithms_under_one_regime_share_a_table(made_up):
    same = {"init": "same", "epochs": 2, "momentum": 0.9, "keep_optimizer": True}
    files = [made_up(**same), made_up(None, algorithm="relaysgd", **same)]
    assert tables.summarise(tables.collect(files))["settings"].nunique() == 1
    assert set(settings.TUNED) >= {"lr", "momentum"}


def test_agreement_is_the_rank_correlation_of_forecast_and_auc(made_up):
    pairs = [(0.1, 5.0), (0.2, 4.0), (0.3, 9.0), (0.4, 7.0)]
    files = [
        made_up(seed=s, auc=auc, attributes={"forecast_ood": share}) for s, (share, auc) in enumerate(pairs)
    ]
    rho, count = tables.forecast_agreement(tables.collect([*files, made_up(seed=9)]))
    assert count == 4
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 x 4 / (4 x 15).
    assert rho == pytest.approx(0.6)
    assert tables.forecast_agreement(tables.collect(files[:2])) is None
