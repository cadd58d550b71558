"""Summaries of many experiments against sums done by hand."""

import json
import math
import statistics

import h5py
import numpy as np
import pandas as pd
import pytest
from edited import edited

from dml.results import load
from dml.results.runs import VALUES, read_runs
from dml.results.tables import forecast_agreement, summarise, write_csv, write_hdf5


def _row(table, **where):
    """The one row of a table in which these columns hold these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, table
    return table.iloc[0].to_dict()


def test_means_and_deviations_are_over_runs(made_up):
    aucs = [3.0, 5.0, 10.0]
    table = summarise(read_runs([made_up(seed=s, auc=a) for s, a in enumerate(aucs)]))
    row = _row(table, strategy="unweighted")
    assert row["runs"] == 3
    assert row["auc_ood"] == pytest.approx(6)
    assert row["auc_ood_std"] == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert row["auc_test"] == pytest.approx(2 * 6)
    assert row["auc_asr_std"] == pytest.approx(statistics.stdev(aucs) / 2)
    assert (row["final_ood"], row["worst_test"], row["worst_ood"]) == (0.5, 0.5, 0.25)


def test_one_run_has_no_deviation(made_up):
    row = _row(summarise(read_runs([made_up()])), strategy="unweighted")
    assert math.isnan(row["auc_ood_std"])


def test_pairs_share_topology_seed_and_ood_node(made_up):
    """Four runs of degCent: three have a partner, of which two are above it."""
    files = [
        made_up("unweighted", seed=0, ood_node=0, auc=10),
        made_up("unweighted", seed=0, ood_node=1, auc=20),
        made_up("unweighted", seed=1, ood_node=0, auc=30),
        made_up("degCent", seed=0, ood_node=0, auc=13),
        made_up("degCent", seed=0, ood_node=1, auc=19),
        made_up("degCent", seed=1, ood_node=0, auc=37),
        made_up("degCent", seed=1, ood_node=1, auc=1000),
    ]
    table = summarise(read_runs(files))
    row = _row(table, strategy="degCent")
    assert row["runs"] == 4
    assert (row["pairs"], row["pairs_above"]) == (3, 2)
    assert row["over_unweighted"] == pytest.approx((3 - 1 + 7) / 3)
    assert math.isnan(_row(table, strategy="unweighted")["over_unweighted"])


def test_a_partner_on_another_graph_of_the_family_is_none(made_up):
    """The seed of a random graph is that of the run, so that a pair shares the graph."""
    files = [made_up("unweighted", seed=0, auc=1), made_up("weighted", seed=1, auc=2)]
    row = _row(summarise(read_runs(files)), strategy="weighted")
    assert math.isnan(row["over_unweighted"])


def test_fl_on_the_first_ood_node_is_paired_there(made_up):
    files = [made_up("unweighted", ood_node=node, auc=10 * (node + 1)) for node in range(3)]
    files.append(made_up("unweighted_fl", ood_node=0, auc=4))
    row = _row(summarise(read_runs(files)), strategy="unweighted_fl")
    assert (row["pairs"], row["pairs_above"], row["over_unweighted"]) == (1, 0, -6)


def test_a_draw_is_not_above(made_up):
    files = [made_up("unweighted", auc=5), made_up("weighted", auc=5)]
    row = _row(summarise(read_runs(files)), strategy="weighted")
    assert (row["pairs"], row["pairs_above"]) == (1, 0)


@pytest.mark.parametrize(
    "other",
    [{"rounds": 20}, {"epochs": 3}, {"eval_every": 2}, {"lr": 0.1}, {"init": "same"}, {"ood_node": None}],
    ids=lambda flags: next(iter(flags)),
)
def test_different_experiments_are_never_mixed(made_up, other):
    """Neither averaged nor paired."""
    files = [
        made_up("unweighted", auc=1),
        made_up("unweighted", auc=100, **other),
        made_up("weighted", auc=2, **other),
    ]
    table = summarise(read_runs(files))
    assert len(table) == 3
    assert sorted(table["auc_ood"]) == [1, 2, 100]
    assert table["settings"].nunique() == 2
    assert _row(table, strategy="weighted")["over_unweighted"] == -98


def test_flags_of_place_and_speed_do_not_split_a_table(made_up):
    files = [made_up(seed=0), made_up(seed=1, threads=4, out_dir="/elsewhere", checkpoint_every=3)]
    assert _row(summarise(read_runs(files)), strategy="unweighted")["runs"] == 2


def test_the_floor_is_the_control_of_the_same_strategy_graph_and_seed(made_up):
    files = [made_up("degCent", seed, node, auc) for seed, node, auc in ((0, 0, 50), (0, 1, 60), (1, 0, 90))]
    files += [
        made_up("degCent", 0, None, 10),
        made_up("degCent", 1, None, 40),
        made_up("degCent", 2, None, 900),
    ]
    files += [made_up("unweighted", 0, 0, 30), made_up("unweighted", 1, None, 500)]
    table = summarise(read_runs(files))
    row = _row(table[table["runs"] == 3], strategy="degCent", auc_ood=200 / 3)
    assert row["floor_ood"] == pytest.approx((10 + 10 + 40) / 3)
    assert row["floor_asr"] == pytest.approx((10 + 10 + 40) / 3 / 2)
    assert row["over_floor"] == pytest.approx((40 + 50 + 50) / 3)
    rest = table.drop(index=table[table["floor_ood"].notna()].index)
    assert len(rest) == 3  # unweighted with OOD data has its control under another seed
    assert rest[["floor_ood", "floor_asr", "over_floor"]].isna().all(axis=None)


def test_runs_without_a_control_are_not_compared_with_the_floor_of_others(made_up):
    files = [made_up(seed=0, auc=50), made_up(seed=1, auc=1000), made_up(seed=0, ood_node=None, auc=10)]
    table = summarise(read_runs(files))
    row = _row(table, runs=2)
    assert (row["auc_ood"], row["floor_ood"], row["over_floor"]) == (525, 10, 40)


def test_one_control_is_the_floor_of_every_ood_share_but_of_no_other_settings(made_up):
    shares = {share: made_up(auc=100 * share, backdoor_proportion=share) for share in (0.25, 0.5)}
    files = [*shares.values(), made_up(auc=7, lr=0.3), made_up(ood_node=None, auc=5)]
    floors = summarise(read_runs(files)).set_index("auc_ood")["floor_ood"]
    assert floors[[25, 50]].to_list() == [5, 5]
    assert floors[[5, 7]].isna().all()


def test_variants_have_the_floor_of_their_own_control_and_its_name(made_up):
    """Also where the controls of one variant are still to come."""
    soft = {"softmax": True, "softmax_coeff": 5.0}
    files = [made_up("degCent", auc=50), made_up("degCent", auc=70, **soft)]
    files.append(made_up("degCent", ood_node=None, auc=10, **soft))
    table = summarise(read_runs(files)).set_index("auc_ood")
    assert table["strategy"].to_dict() == {50: "degCent sum", 70: "degCent s=5", 10: "degCent s=5"}
    assert table.loc[70, "floor_ood"] == 10
    assert math.isnan(table.loc[50, "floor_ood"])


def test_a_control_that_diverged_is_no_floor(made_up):
    files = [made_up(auc=50), made_up(ood_node=None, auc=10, status="diverged", rounds_done=1)]
    row = _row(summarise(read_runs(files)), runs=1)
    assert math.isnan(row["floor_ood"])


def test_schedules_are_variants_that_share_the_baseline(made_up):
    soft = {"softmax": True, "softmax_coeff": 10.0}
    annealed = {**soft, "scheduler": "CA", "T_0": 8}
    files = [made_up("unweighted", auc=3), made_up("degCent", auc=4, **soft)]
    files += [made_up("degCent", auc=5, **annealed), made_up("degCent", auc=6, **annealed, eta_min=-5.0)]
    table = summarise(read_runs(files)).set_index("strategy")
    assert table["over_unweighted"].drop("unweighted").to_dict() == {
        "degCent s=10": 1,
        "degCent s=10 CA eta_min=1 T_0=8 T_mult=1": 2,
        "degCent s=10 CA eta_min=-5 T_0=8 T_mult=1": 3,
    }


def test_diverged_runs_are_counted_and_not_averaged(made_up):
    """A diverged run ends early, so it has done fewer rounds than those it stands among."""
    files = [
        made_up(seed=0, auc=4),
        made_up(seed=1, auc=6),
        made_up(seed=2, auc=900, status="diverged", rounds_done=3),
    ]
    row = _row(summarise(read_runs(files)), strategy="unweighted")
    assert (row["runs"], row["diverged"], row["auc_ood"]) == (2, 1, 5)


def test_a_strategy_of_which_every_run_diverged_still_has_its_row(made_up):
    files = [made_up("unweighted"), made_up("scale_agg", status="diverged", rounds_done=0)]
    row = _row(summarise(read_runs(files)), strategy="scale_agg")
    assert (row["runs"], row["diverged"]) == (0, 1)
    assert math.isnan(row["auc_ood"])


def test_stalled_runs_have_their_own_column_and_are_not_averaged(made_up):
    files = [
        made_up(seed=0, auc=4),
        made_up(seed=1, auc=6),
        made_up(seed=2, auc=900, status="stalled", rounds_done=3),
        made_up(seed=3, auc=900, status="diverged", rounds_done=3),
        made_up("scale_agg", status="stalled", rounds_done=1),
    ]
    table = summarise(read_runs(files))
    row = _row(table, strategy="unweighted")
    assert (row["runs"], row["diverged"], row["stalled"], row["auc_ood"]) == (2, 1, 1, 5)
    row = _row(table, strategy="scale_agg")
    assert (row["runs"], row["diverged"], row["stalled"]) == (0, 0, 1)


def test_a_mean_over_fewer_than_all_runs_is_none(made_up):
    """Such as the mean F1 of three runs, one of which has none."""
    files = [made_up(seed=seed) for seed in range(3)]
    for path in files[1:]:
        with edited(path) as file:
            file.attrs["final_f1"] = 0.5
    row = _row(summarise(read_runs(files)), strategy="unweighted")
    assert math.isnan(row["final_f1"])
    assert math.isnan(row["final_f1_std"])
    row = _row(summarise(read_runs(files[1:])), strategy="unweighted")
    assert (row["runs"], row["final_f1"], row["final_f1_std"]) == (2, 0.5, 0)


def test_nothing_gives_an_empty_table():
    assert summarise(read_runs([])).empty


def test_baselines_come_first(made_up):
    names = ["degCent", "betCent", "random", "weighted", "unweighted", "unweighted_fl"]
    table = summarise(read_runs([made_up(name) for name in names]))
    assert list(table["strategy"]) == [
        "unweighted_fl",
        "unweighted",
        "weighted",
        "random",
        "betCent",
        "degCent",
    ]


def test_a_real_file_gives_the_numbers_it_holds(tiny):
    row = _row(summarise(read_runs([tiny])), strategy="unweighted")
    a = load(tiny).attributes
    assert row["topology"] == "chain:n=3"
    assert {value: row[value] for value in VALUES} == {value: a[value] for value in VALUES}


def test_agreement_is_the_rank_correlation_of_forecast_and_auc(made_up):
    pairs = [(0.1, 5.0), (0.2, 4.0), (0.3, 9.0), (0.4, 7.0)]
    files = [
        made_up(seed=s, auc=auc, attributes={"forecast_ood": share}) for s, (share, auc) in enumerate(pairs)
    ]
    rho, count = forecast_agreement(read_runs([*files, made_up(seed=9)]))
    assert count == 4
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 x 4 / (4 x 15).
    assert rho == pytest.approx(0.6)
    assert forecast_agreement(read_runs(files[:2])) is None


def test_csv_holds_the_table(varied, tmp_path):
    table = summarise(read_runs(varied))
    write_csv(table, tmp_path / "summary.csv")
    back = pd.read_csv(tmp_path / "summary.csv")
    pd.testing.assert_frame_equal(back, table.reset_index(drop=True), check_dtype=False)
    assert [p.name for p in tmp_path.glob("*summary*")] == ["summary.csv"]


def test_hdf5_holds_the_table_column_by_column(varied, tmp_path):
    table = summarise(read_runs(varied))
    write_hdf5(table, tmp_path / "summary.h5")
    with h5py.File(tmp_path / "summary.h5") as file:
        columns = json.loads(file.attrs["columns"])
        assert columns == list(table.columns)
        for column in columns:
            values = file[column][()]
            if values.dtype.kind == "O":
                assert [v.decode() for v in values] == list(table[column])
            else:
                np.testing.assert_array_equal(values, table[column].to_numpy(float))
        assert {c for c in columns if file[c].dtype.kind == "O"} == {"settings", "topology", "strategy"}
