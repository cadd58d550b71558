"""Peers give the numbers of one process, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from peer_runs import run_peers

from dml import experiment, results
from dml.algorithms.registry import ALGORITHMS
from dml.config import make

SMALL = {
    "topology_file": "barabasi_albert:n=4,m=2,seed=1",
    "rounds": 2,
    "epochs": 1,
    "threads": 1,
    "engine": "loop",
    "backdoor": True,
}
SHARED = [name for name, one in ALGORITHMS.items() if one.shards and not (one.events or one.one_model)]
CASES: dict[str, dict[str, object]] = {
    **{name: {"algorithm": name} for name in SHARED},
    **{
        f"{name} loses": {"algorithm": name, "drop_probability": 0.4}
        for name in ("dpsgd", "push_sum", "one_peer_exponential", "allreduce")
    },
    "few": {"algorithm": "scaffold", "participation": 0.5},
    "some": {"aggregation_strategy": "degCent", "softmax": True, "participation": 0.5},
    "d2 chain": {"algorithm": "d2", "topology_file": "chain:n=4"},
    "complete": {"aggregation_strategy": "unweighted_fl"},
    "similar": {"aggregation_strategy": "degCent_sim", "softmax": True, "drop_probability": 0.3},
    "nobody averages": {"aggregation_strategy": "test_agg"},
    "steps": {"algorithm": "dpsgd", "local_steps": 3, "optimizer": "adam", "keep_optimizer": True},
    "own sets": {"train_test_val": [0.6, 0.2, 0.2], "epochs": 2},
    # The loss of one node alone is not finite, in a round before the last one.
    "one diverges": {"algorithm": "dpsgd", "local_steps": 2, "lr": 1e7, "rounds": 5},
    "wide": {"algorithm": "gradient_tracking", "model": "cnn", "local_steps": 1},
}
CASES.pop("d2", None)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The result file of each case, computed by four peers."""
    return run_peers(tmp_path_factory.mktemp("peers"), 4, {k: {**SMALL, **case} for k, case in CASES.items()})


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_peers_have_the_numbers_of_one_process(together: dict[str, Path], case: str, tmp_path: Path):
    alone = experiment.run(make({**SMALL, **CASES[case], "out_dir": tmp_path}, drop_unread=True))
    assert results.differences(alone, together[case]) == []


@pytest.mark.slow
def test_all_peers_end_in_the_round_in_which_the_loss_of_one_is_not_finite(together: dict[str, Path]):
    # Every peer has ended by itself, with the exit code 0.
    found = results.load(together["one diverges"])
    assert found.attributes["status"] == "diverged"
    assert found.record().rounds < 5
    assert np.isfinite(found.arrays["metrics/train_loss"]).sum(1).tolist() == [3]
