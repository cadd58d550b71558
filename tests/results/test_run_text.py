"""The text about one experiment: in 80 columns, and without numbers that mean nothing."""

import json
import shutil

import numpy as np
import pytest
from edited import edited

from dml.results import load
from dml.results.run_text import nodes_line, run_text


def test_the_summary_of_a_run_with_ood_data(tiny):
    text, a = run_text(load(tiny)), load(tiny).arrays
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
    text = run_text(load(tiny_control))
    assert "no node holds OOD data" in text
    assert "hops" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_summary_names_the_sums_and_the_means_of_the_aucs(tiny):
    a = load(tiny).attributes
    lines = run_text(load(tiny)).splitlines()
    assert any(line.startswith("AUC over 4 measurements") for line in lines)
    (asr,) = [line.split() for line in lines if line.startswith("asr")]
    assert asr == ["asr", f"{a['auc_asr']:.1f}", f"{a['auc_asr'] / 4:.3f}"]


def test_one_round_is_no_rounds(tiny, tmp_path):
    path = tmp_path / "one.h5"
    shutil.copyfile(tiny, path)
    with edited(path) as file:
        file.attrs["rounds_done"] = file.attrs["auc_points"] = 1
        for name in ("communication/bytes_sent", *(f"time/{name}" for name in file["time"])):
            values = file[name][:1]
            del file[name]
            file[name] = values
    text = run_text(load(path))
    assert "3 nodes, 1 round, seed 0\n" in text
    assert "AUC over 1 measurement  " in text
    assert " s in 1 round, engine" in text


def test_long_graphs_and_many_ood_nodes_fit_80_columns(tiny, tmp_path):
    path = tmp_path / "long.h5"
    shutil.copyfile(tiny, path)
    with edited(path) as file:
        file.attrs["topology_source"] = "stochastic_block:blocks=3,size=11,p_in=0.512345,p_out=0.051,seed=0"
        file.attrs["config"] = json.dumps(load(tiny).config | {"backdoor_node_idx": list(range(1000, 1040))})
    lines = run_text(load(path)).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(str(node) in " ".join(lines) for node in range(1000, 1040))


def test_nodes_that_failed_at_a_simulated_time_are_named(tiny, tmp_path):
    path = tmp_path / "failed.h5"
    shutil.copyfile(tiny, path)
    with edited(path) as file:
        file.attrs["config"] = json.dumps(load(tiny).config | {"failing_nodes": ["1@0.5s", "2@99s"]})
        file.attrs["simulated_s"] = 20.0
    text = run_text(load(path))
    assert "failed after 0.5 s: 1\n" in text
    # The run ended before this time.
    assert "failed after 99 s" not in text


def test_a_diverged_run_says_so(tiny, tmp_path):
    path = tmp_path / "diverged.h5"
    shutil.copyfile(tiny, path)
    with edited(path) as file:
        file.attrs["status"] = "diverged"
        file["metrics/test_acc"][-1, 1] = np.nan
    text = run_text(load(path))
    assert "seed 0: diverged" in text
    assert "not finite" in text


def test_no_number_of_a_model_that_diverged_is_shown(diverged):
    """Its answers are all class 0, the trigger's, which would make an OOD accuracy of 1."""
    text = run_text(load(diverged()))
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
    lines = run_text(result).splitlines()
    first = result.arrays["metrics/ood_acc"][-1, 0]
    assert f"    0 hops {first:6.3f}   (1 node)" in lines
    assert any(line.startswith("    1 hop  not finite") for line in lines)


def test_columns_of_large_graphs_do_not_touch():
    """Node numbers of four digits."""
    line = nodes_line("IID test set", np.linspace(0, 1, 10000).astype(np.float32), np.zeros(10000, bool))
    assert line.split()[3:] == ["0.500", "0.000", "(node", "0)", "1.000", "(node", "9999)"]
    assert len(line) <= 80


@pytest.mark.parametrize("size", [9.9996, 99.996, 999.96, 9999.6, 99999.6, 1.5e7, 3e38])
def test_columns_of_large_numbers_do_not_touch(size):
    """Distances of models that no link draws together, and perplexities, have no bound."""
    values = np.full(10000, size, np.float32)
    line = nodes_line("distance to the mean model", values, np.zeros(10000, bool), best=lambda v: v.size - 1)
    words = line.split()
    assert len(words) == 12
    assert len(line) <= 80
    assert [float(word) for word in (words[5], words[6], words[9])] == pytest.approx([size] * 3, rel=0.4)
