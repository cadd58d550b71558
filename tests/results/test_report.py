"""Tables and summaries as people look at them: 80 columns, and files."""

import json
import shutil
import statistics

import h5py
import numpy as np
import pandas as pd
import pytest

from dml.results import load, report, tables
from dml.results.summary import _nodes, summary


@pytest.fixture
def table(made_up):
    """Two settings; softmax variants with long names; means, deviations and counts of many digits."""
    files = []
    for seed in range(12):
        files += [
            made_up(strategy, seed=seed, auc=1234.5 * (seed + 1))
            for strategy in ("unweighted", "unweighted_fl", "weighted")
        ]
        files += [
            made_up("degCent", seed=seed, auc=99.9 * seed, **variant)
            for variant in ({}, {"softmax": True}, {"softmax": True, "softmax_coeff": 0.0625})
        ]
    files.append(made_up("random", status="diverged", rounds_done=2))
    files.append(made_up("unweighted", seed=99, status="diverged", rounds_done=2))
    other = {"rounds": 400, "epochs": 3, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.001, "init": "same"}
    long = "stochastic_block:blocks=3,size=11,p_in=0.512345678901,p_out=0.05123456789012345"
    files.append(made_up("weighted", topology=long, participation=0.5, **other))
    return tables.summarise(tables.collect(files))


def test_the_text_fits_80_columns_and_has_a_line_for_every_strategy(table):
    lines = report.text(table).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    for strategy in table["strategy"].unique():
        assert any(line.startswith(f"{strategy} ") or line == strategy for line in lines), strategy


def test_columns_never_touch(table):
    """Every number of the table can be told from its neighbours."""
    text = report.text(table)
    (line,) = [line for line in text.splitlines() if line.startswith("unweighted_fl")]
    row = table[table["strategy"] == "unweighted_fl"].iloc[0]
    words = line.split()
    assert words[0] == "unweighted_fl"
    assert words[1] == "12"
    assert words[3] == f"{row['auc_ood']:.0f}±{row['auc_ood_std']:.0f}"
    assert words[5:8] == ["0.75", "0.50", "0.25"]
    assert words[8:] == ["+0.0", "0/12"]


def test_the_text_shows_the_numbers(made_up):
    files = [
        made_up("unweighted", seed=0, auc=40),
        made_up("unweighted", seed=1, auc=44),
        made_up("degCent", seed=0, auc=50.26),
        made_up("degCent", seed=1, auc=43),
    ]
    lines = report.text(tables.summarise(tables.collect(files))).splitlines()
    assert lines[0] == "digits, 10 rounds x 5 epochs, measured each epoch, OOD share 0.1"
    (line,) = [line for line in lines if line.startswith("degCent")]
    assert line.split() == [
        "degCent",
        "2",
        "93.3±10.3",
        "46.6±5.1",
        "23.3±2.6",
        "0.75",
        "0.50",
        "0.25",
        "+4.6",
        "1/2",
    ]


def test_the_text_says_what_diverged(table):
    lines = report.text(table).splitlines()
    (random,) = [line for line in lines if line.startswith("random ")]
    assert "all 1 diverged" in random
    assert "1 more diverged" in lines[next(i for i, s in enumerate(lines) if s.startswith("unweighted ")) + 1]


def test_settings_that_differ_stand_in_the_headings(made_up):
    text = report.text(tables.summarise(tables.collect([made_up(lr=0.05), made_up(lr=0.1)])))
    assert "lr 0.05" in text
    assert "lr 0.1" in text
    assert "momentum" not in text
    assert "no OOD data" in report.text(tables.summarise(tables.collect([made_up(ood_node=None)])))


def _sweep(made_up, **flags):
    """Two strategies on three OOD nodes, and each once without OOD data."""
    files = [made_up("unweighted", ood_node=node, auc=40 + node, **flags) for node in range(3)]
    files += [made_up("degCent", ood_node=node, auc=50 + node, **flags) for node in range(3)]
    return [
        *files,
        made_up("unweighted", ood_node=None, auc=8, worst=0.1, **flags),
        made_up("degCent", ood_node=None, auc=12, worst=0.2, **flags),
    ]


def test_controls_are_a_line_below_the_runs_whose_floor_they_are(made_up):
    lines = report.text(tables.summarise(tables.collect(_sweep(made_up)))).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    words = [line.split() for line in lines]
    (control,) = [w for w in words if w[:1] == ["control"]]
    assert control == ["control", "2", "20.0±5.7", "10.0±2.8", "5.0±1.4", "0.75", "0.50", "0.15"]
    assert words[words.index(control) - 1][:2] == ["degCent", "3"]
    assert not any("no OOD data" in line for line in lines)
    assert any(line.startswith("control: these strategies without OOD data") for line in lines)


def test_the_line_of_controls_is_over_all_their_runs(made_up):
    """Its mean and deviation are those of the single runs, however many each strategy has."""
    aucs = {("unweighted", 0): 5.0, ("unweighted", 1): 9.0, ("unweighted", 2): 10.0, ("degCent", 0): 20.0}
    files = [made_up(strategy, seed, None, auc) for (strategy, seed), auc in aucs.items()]
    files += [made_up(strategy, seed, 0, 60) for strategy, seed in aucs]
    lines = report.text(tables.summarise(tables.collect(files))).splitlines()
    (control,) = [line.split() for line in lines if line.startswith("control ")]
    mean, deviation = statistics.mean(aucs.values()), statistics.stdev(aucs.values())
    assert control[1] == "4"
    assert control[3] == f"{mean:.1f}±{deviation:.1f}"


def test_the_line_of_controls_has_the_strategies_above_it_alone(made_up):
    """So that a sweep half done compares like with like."""
    files = [*_sweep(made_up), made_up("random", ood_node=None, auc=500), made_up("weighted", auc=60)]
    lines = report.text(tables.summarise(tables.collect(files))).splitlines()
    (control,) = [line.split() for line in lines if line.startswith("control ")]
    assert control[1:4] == ["2", "20.0±5.7", "10.0±2.8"]


def test_controls_that_are_no_floor_keep_tables_of_their_own(made_up):
    alone = [made_up("unweighted", ood_node=None), made_up("degCent", ood_node=None)]
    text = report.text(tables.summarise(tables.collect(alone)))
    assert "no OOD data" in text
    assert "control:" not in text
    # On one topology they are a floor, on the other the runs with OOD data are still to come.
    ahead = [*_sweep(made_up), made_up("degCent", ood_node=None, topology="cycle:n=4")]
    text = report.text(tables.summarise(tables.collect(ahead)))
    first, second = text.split("OOD share 0.1")
    assert "no OOD data" in first
    assert "cycle:n=4" in first
    assert "chain:n=3" not in first
    assert "cycle:n=4" not in second


def _iid(made_up, strategy, seed, auc, **flags):
    return made_up(strategy, seed, None, auc, attributes={"worst_test": 0.625}, **flags)


def test_without_ood_data_the_table_is_of_the_iid_test_set(made_up):
    files = [_iid(made_up, "unweighted", seed, 20 + seed) for seed in range(2)]
    files.append(_iid(made_up, "degCent", 0, 30))
    lines = report.text(tables.summarise(tables.collect(files))).splitlines()
    header = next(line for line in lines if line.startswith("strategy"))
    assert header.split() == ["strategy", "runs", "IID", "AUC", "IID", "worst"]
    rows = [line.split() for line in lines if line.startswith(("unweighted", "degCent"))]
    assert rows == [["unweighted", "2", "41.0±1.4", "0.75", "0.62"], ["degCent", "1", "60.0", "0.75", "0.62"]]
    # Nothing is explained that is not there.
    assert not any(word in " ".join(lines).replace("no OOD data", "") for word in ("OOD", "asr", "vs "))
    assert " ".join(lines).endswith("IID: accuracy after the last round; worst: that of the worst node.")


def test_long_names_of_a_table_without_ood_data_have_room_in_their_lines(made_up):
    variants = [{"softmax_coeff": s, "softmax": True} for s in (0.0625, 0.123456789)]
    variants += [{"softmax": True, "softmax_coeff": 1 / 3, "scheduler": "CA", "T_0": 10, "eta_min": 1 / 7}]
    files = [_iid(made_up, "degCent", seed, 1234.5 * (seed + 1), **v) for v in variants for seed in range(12)]
    table = tables.summarise(tables.collect(files))
    lines = report.text(table).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    header = next(line for line in lines if line.startswith("strategy"))
    for name in table["strategy"]:
        (at,) = [k for k, line in enumerate(lines) if line.startswith(name)]
        row = lines[at] if len(name) <= 54 else lines[at + 1]
        assert len(row) == len(header)
    assert any(len(name) > 13 for name in table["strategy"])


def test_a_folder_of_both_kinds_explains_the_worst_of_both(made_up):
    files = [made_up("unweighted", lr=0.1), _iid(made_up, "unweighted", 0, 20, lr=0.2)]
    lines = report.text(tables.summarise(tables.collect(files))).splitlines()
    headers = [" ".join(line.split()) for line in lines if line.startswith("strategy")]
    assert sorted(headers) == [
        "strategy runs IID AUC IID worst",
        "strategy runs IID AUC OOD AUC asr AUC IID OOD worst vs unweighted",
    ]
    told = " ".join(lines)
    assert "worst: OOD accuracy of the worst node; where there are no OOD data, its IID accuracy." in told
    assert max(map(len, lines)) <= 80


def test_without_controls_the_text_says_nothing_of_them(table):
    assert "control" not in report.text(table)


def test_csv_holds_the_table(table, tmp_path):
    report.write_csv(table, tmp_path / "summary.csv")
    back = pd.read_csv(tmp_path / "summary.csv")
    pd.testing.assert_frame_equal(back, table.reset_index(drop=True), check_dtype=False)
    assert [p.name for p in tmp_path.glob("*summary*")] == ["summary.csv"]


def test_hdf5_holds_the_table_column_by_column(table, tmp_path):
    report.write_hdf5(table, tmp_path / "summary.h5")
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


def test_the_summary_of_a_run_with_ood_data(tiny):
    text, a = summary(load(tiny)), load(tiny).arrays
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["digits, chain:n=3, unweighted", "3 nodes, 2 rounds, seed 0"]
    (ood,) = [line for line in lines if line.startswith("OOD test set") and "node" in line]
    final = a["metrics/ood_acc"][-1]
    assert f" {final.mean(dtype=float):.3f} " in ood
    assert f"{final.min():.3f} (node {final.argmin()})" in ood
    assert f"{final.max():.3f} (node {final.argmax()})" in ood
    for hops, far in enumerate(["0 hops", "1 hop ", "2 hops"]):
        assert f"    {far} {final[hops]:6.3f}   (1 node)" in lines
    # 4 messages a round of 4,810 numbers of 4 bytes.
    assert "153.9 kB sent" in text


def test_the_summary_of_a_control_says_that_it_is_one(tiny_control):
    text = summary(load(tiny_control))
    assert "no node holds OOD data" in text
    assert "hops" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_summary_names_the_sums_and_the_means_of_the_aucs(tiny):
    a = load(tiny).attributes
    lines = summary(load(tiny)).splitlines()
    assert any(line.startswith("AUC over 4 measurements") for line in lines)
    (asr,) = [line.split() for line in lines if line.startswith("asr")]
    assert asr == ["asr", f"{a['auc_asr']:.1f}", f"{a['auc_asr'] / 4:.3f}"]


def test_long_graphs_and_many_ood_nodes_fit_80_columns(tiny, tmp_path):
    path = tmp_path / "long.h5"
    shutil.copyfile(tiny, path)
    with h5py.File(path, "r+") as file:
        file.attrs["topology_source"] = "stochastic_block:blocks=3,size=11,p_in=0.512345,p_out=0.051,seed=0"
        file.attrs["config"] = json.dumps(load(tiny).config | {"backdoor_node_idx": list(range(1000, 1040))})
    lines = summary(load(path)).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(str(node) in " ".join(lines) for node in range(1000, 1040))


def test_a_diverged_run_says_so(tiny, tmp_path):
    path = tmp_path / "diverged.h5"
    shutil.copyfile(tiny, path)
    with h5py.File(path, "r+") as file:
        file.attrs["status"] = "diverged"
        file["metrics/test_acc"][-1, 1] = np.nan
    text = summary(load(path))
    assert "seed 0: diverged" in text
    assert "not finite" in text


def test_no_number_of_a_model_that_diverged_is_shown(diverged):
    """Its answers are all class 0, the trigger's, which would make an OOD accuracy of 1."""
    text = summary(load(diverged()))
    assert "1.000" not in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    starts = ["IID test set", "OOD test set", "OOD, target", "F1", "distance to the mean", "mean model"]
    starts += ["    0 hops", "    1 hop", "    2 hops"]
    for start in starts:
        (line,) = [line for line in lines if line.startswith(start) and "sum" not in line][:1]
        assert "not finite" in line
    aucs = lines[lines.index(next(line for line in lines if line.startswith("AUC"))) + 1 :][:3]
    assert all(line.endswith("not finite") for line in aucs), aucs


def test_one_node_that_diverged_is_enough(diverged):
    result = load(diverged([1]))
    lines = summary(result).splitlines()
    first = result.arrays["metrics/ood_acc"][-1, 0]
    assert f"    0 hops {first:6.3f}   (1 node)" in lines
    assert any(line.startswith("    1 hop  not finite") for line in lines)


def test_columns_of_large_graphs_do_not_touch():
    """Node numbers of four digits."""
    line = _nodes("IID test set", np.linspace(0, 1, 10000).astype(np.float32), np.zeros(10000, bool))
    assert line.split()[3:] == ["0.500", "0.000", "(node", "0)", "1.000", "(node", "9999)"]
    assert len(line) <= 80


@pytest.mark.parametrize("size", [9.9996, 99.996, 999.96, 9999.6, 99999.6, 1.5e7, 3e38])
def test_columns_of_large_numbers_do_not_touch(size):
    """Distances of models that no link draws together, and perplexities, have no bound."""
    values = np.full(10000, size, np.float32)
    line = _nodes("distance to the mean model", values, np.zeros(10000, bool), best=lambda v: v.size - 1)
    words = line.split()
    assert len(words) == 12
    assert len(line) <= 80
    assert [float(word) for word in (words[5], words[6], words[9])] == pytest.approx([size] * 3, rel=0.4)
