"""Topology-aware strategies spread OOD knowledge further than the others, as in arXiv 2505.11760.

On digits (mean of three seeds, OOD data on the node of highest degree), and, with the sweep files that
docs/reproduce_the_paper.md names, on TinyMem and on data in the shape of MNIST.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scripts import SCRIPTS, Script
from sweeps import run_sweep_here

from dml import results

ROOT = SCRIPTS.parents[1]

BA1, BA2 = "barabasi_albert:n=33,m=1", "barabasi_albert:n=33,m=2"
WS = "watts_strogatz:n=33,k=4,p=0.5"


STRATEGIES = ("unweighted", "unweighted_fl", "degCent", "betCent")


def _assert_the_papers_order(auc: "pd.Series[float]") -> None:
    """Of the OOD AUC by topology and strategy."""
    for aware in ("degCent", "betCent"):
        assert auc[BA2, aware] > auc[BA2, "unweighted"]
        assert auc[WS, aware] > auc[WS, "unweighted"]
    assert auc[BA2, "unweighted"] > auc[BA2, "unweighted_fl"]
    assert auc[BA1, "betCent"] > auc[BA1, "unweighted"]


@pytest.mark.slow
def test_topology_aware_strategies_spread_ood_knowledge_further_in_a_few_rounds(tmp_path: Path):
    """One seed and 15 rounds, where the differences are factors of 1.6 and more."""
    words = ("--preset", "quickstart", "--rounds", 15, "--eval_every", 5, "--strategies", *STRATEGIES)
    auc = {}
    for path in run_sweep_here(tmp_path, *words).values():
        attributes = results.load(path).attributes
        strategy = json.loads(attributes["config"])["aggregation_strategy"]
        auc[attributes["topology_source"].removesuffix(",seed=0"), strategy] = attributes["auc_ood"]
    assert len(auc) == 12
    _assert_the_papers_order(pd.Series(auc))


@pytest.mark.slow
def test_topology_aware_strategies_spread_ood_knowledge_further(process: Script, tmp_path: Path):
    """As the README shows it: 40 rounds, and the mean of three seeds."""
    words = ("--preset", "quickstart", "--seeds", 0, 1, 2, "--eval_every", 1, "--strategies", *STRATEGIES)
    called = process("bd_scheduler.py", *words)
    assert called.returncode == 0, called.stderr
    print(called.stdout)
    table = pd.read_csv(tmp_path / "results" / "quickstart" / "summary.csv")
    assert (table["runs"] == 3).all()
    _assert_the_papers_order(table.set_index(["topology", "strategy"])["auc_ood"])


def _auc(folder: Path) -> "pd.Series[float]":
    table = pd.read_csv(folder / "summary.csv")
    print(table[["topology", "strategy", "runs", "auc_ood", "auc_test"]])
    return table.set_index("strategy")["auc_ood"]


@pytest.mark.slow
def test_on_tiny_mem(process: Script, tmp_path: Path):
    file = ROOT / "docs" / "reproduce" / "tiny_mem_reduced.yaml"
    only = ("--seeds", 0, "--topologies", "barabasi_albert:n=16,m=2")
    strategies = ("--strategies", *STRATEGIES)
    called = process("bd_scheduler.py", "--sweep", file, *only, *strategies, "--out_dir", "out", timeout=3000)
    assert called.returncode == 0, called.stderr
    auc = _auc(tmp_path / "out")
    assert min(auc["degCent"], auc["betCent"]) > auc["unweighted"] > auc["unweighted_fl"]


@pytest.mark.slow
def test_on_data_in_the_shape_of_mnist(process: Script, tmp_path: Path):
    make = [sys.executable, str(ROOT / "benchmarks" / "mnist_shaped.py"), "data", "--train", "6000"]
    subprocess.run([*make, "--test", "1000"], cwd=tmp_path, check=True)
    file = ROOT / "docs" / "reproduce" / "mnist_shaped.yaml"
    only = ("--datasets", "data", "--topologies", "barabasi_albert:n=33,m=2", "--rounds", 6)
    strategies = ("--strategies", *STRATEGIES)
    called = process("bd_scheduler.py", "--sweep", file, *only, *strategies, "--out_dir", "out", timeout=3000)
    assert called.returncode == 0, called.stderr
    auc = _auc(tmp_path / "out")
    assert min(auc["degCent"], auc["betCent"]) > auc["unweighted"] > auc["unweighted_fl"]
