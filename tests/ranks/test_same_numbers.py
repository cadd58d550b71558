"""Several processes that share the nodes of an experiment give the numbers of one, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from shared_runs import NORMED, run_together

from dml import experiment, results
from dml.algorithms.registry import ALGORITHMS
from dml.config import make
from dml.models.registry import MODELS
from dml.results import checkpoint

SMALL = {
    "topology_file": "barabasi_albert:n=7,m=2",
    "rounds": 3,
    "epochs": 1,
    "threads": 1,
    "engine": "loop",
    "backdoor": True,
    "checkpoint_every": 2,
}
SHARED = [name for name, one in ALGORITHMS.items() if one.shards and not (one.events or one.one_model)]
GOSSIP = [name for name in SHARED if "hold_last" in ALGORITHMS[name].loss_rules]
CLIENTS = [name for name in SHARED if ALGORITHMS[name].participation]
# A chain leaves nodes of some processes without a neighbour in others, and d2 runs on it.
ON_A_GRAPH = {"d2": {"topology_file": "chain:n=7"}}

CASES: dict[str, dict[str, object]] = {
    **{name: {"algorithm": name} for name in SHARED},
    **{f"{name} loses": {"algorithm": name, "drop_probability": 0.4} for name in GOSSIP},
    **{
        f"{name} {rule}": {"algorithm": name, "drop_probability": 0.4, "loss_rule": rule}
        for name in ("dpsgd", "push_sum")
        for rule in ALGORITHMS[name].loss_rules
    },
    # Of 7 nodes 2, so that a process may have none of them.
    **{f"{name} few": {"algorithm": name, "participation": 0.3, "rounds": 4} for name in CLIENTS},
    "server": {"algorithm": "scaffold", "server": 2},
    "complete": {"aggregation_strategy": "unweighted_fl"},
    "similar": {"aggregation_strategy": "degCent_sim", "softmax": True},
    "nobody averages": {"aggregation_strategy": "test_agg"},
    "steps": {
        "algorithm": "dpsgd",
        "local_steps": 3,
        "optimizer": "adam",
        "keep_optimizer": True,
        "lr": 0.01,
    },
    "own sets": {"train_test_val": [0.6, 0.2, 0.2], "epochs": 2},
    # Fewer steps than a pass has: a batch norm takes no batch of one sample.
    "batch norm": {"model": "normed", "optimizer": "adam", "lr": 0.01, "batch_size": 32, "local_steps": 1},
    # Models so wide that averages are sums of pieces, and no product of matrices.
    **{
        f"{name} wide": {"algorithm": name, "model": "cnn", "rounds": 2, "local_steps": 1}
        for name in ("decentralized", "d2", "push_sum", "allreduce")
    },
    "untrained": {"train": False, "algorithm": "gradient_tracking"},
}


@pytest.fixture(scope="module", params=[2, 3])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The result file of each case, computed by 2 or 3 processes."""
    flags = {
        name: {**SMALL, **case, **ON_A_GRAPH.get(str(case.get("algorithm")), {})}
        for name, case in CASES.items()
    }
    return run_together(tmp_path_factory.mktemp("together"), request.param, flags)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_numbers_are_those_of_one_process(
    together: dict[str, Path], case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(MODELS, "normed", NORMED)
    flags = {**SMALL, **CASES[case], **ON_A_GRAPH.get(str(CASES[case].get("algorithm")), {})}
    alone = experiment.run(make({**flags, "out_dir": tmp_path}, drop_unread=True))
    assert results.differences(alone, together[case]) == []
    own, shared = (
        checkpoint.read(checkpoint.path_of(path), results.load(path).attributes["experiment_id"])
        for path in (alone, together[case])
    )
    assert own is not None
    assert shared is not None
    assert np.array_equal(own.X, shared.X)
    assert sorted(own.algorithm) == sorted(shared.algorithm)
    for name, array in own.algorithm.items():
        assert np.array_equal(array, shared.algorithm[name]), name
    assert all(np.array_equal(a, b) for a, b in zip(own.buffers, shared.buffers, strict=True))
