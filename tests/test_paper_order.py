"""A8: the paper's order shows on digits (mean of three seeds, OOD data on the node of highest degree)."""

from pathlib import Path

import pandas as pd
from scripts import Script

BA1, BA2 = "barabasi_albert:n=33,m=1", "barabasi_albert:n=33,m=2"
WS = "watts_strogatz:n=33,k=4,p=0.5"


def test_topology_aware_strategies_spread_ood_knowledge_further(script: Script, tmp_path: Path):
    strategies = ("unweighted", "unweighted_fl", "degCent", "betCent")
    called = script(
        "bd_scheduler.py", "--preset", "quickstart", "--seeds", 0, 1, 2, "--strategies", *strategies
    )
    assert called.returncode == 0, called.stderr
    print(called.stdout)
    table = pd.read_csv(tmp_path / "results" / "quickstart" / "summary.csv")
    assert (table["runs"] == 3).all()
    auc = table.set_index(["topology", "strategy"])["auc_ood"]
    for aware in ("degCent", "betCent"):
        assert auc[BA2, aware] > auc[BA2, "unweighted"]
        assert auc[WS, aware] > auc[WS, "unweighted"]
    assert auc[BA2, "unweighted"] > auc[BA2, "unweighted_fl"]
    assert auc[BA1, "betCent"] > auc[BA1, "unweighted"]
