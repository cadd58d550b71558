"""One finished experiment with OOD data on a chain of three nodes; files made up from a few numbers."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from edited import edited

from dml import config, experiment
from dml.results.record import EVALUATED
from dml.results.sealed import Content


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of two epochs; read only: whoever changes it takes a copy."""
    folder = tmp_path_factory.mktemp("tiny")
    flags = {
        "topology_file": "chain:n=3",
        "backdoor": True,
        "backdoor_node_idx": (0,),
        "epochs": 2,
        "rounds": 2,
        "threads": 1,
        "out_dir": folder,
    }
    return experiment.run(config.make(flags))


@pytest.fixture(scope="session")
def tiny_control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without OOD data."""
    folder = tmp_path_factory.mktemp("control")
    flags = {"topology_file": "chain:n=3", "epochs": 2, "rounds": 2, "threads": 1, "out_dir": folder}
    return experiment.run(config.make(flags))


@pytest.fixture
def diverged(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """``tiny`` as if some of its nodes had diverged in the last epoch of round 1.

    Logits that are NaN make each answer class 0, which is the trigger's.
    """

    def make(nodes: Iterable[int] = (0, 1, 2)) -> Path:
        path = tmp_path / "diverged.h5"
        shutil.copyfile(tiny, path)
        with edited(path) as file:
            file.attrs.update({"status": "diverged", "rounds_done": 1, "final_f1": 0.018, "final_ood": 1.0})
            for name in [n for n in file["metrics"] if n != "per_class"]:
                values = file[f"metrics/{name}"][:-1]
                for node in nodes:
                    if name.endswith("_loss") or name == "consensus_distance":
                        values[-1, node] = np.nan
                    elif name.startswith(("test_", "train_")):
                        values[-1, node] = 0.1
                    elif name.startswith("ood_"):
                        values[-1, node] = 1.0
                del file[f"metrics/{name}"]
                file[f"metrics/{name}"] = values
            for name in file["metrics/per_class"]:
                values = file[f"metrics/per_class/{name}"][:-1]
                del file[f"metrics/per_class/{name}"]
                file[f"metrics/per_class/{name}"] = values
            times = [f"time/{name}" for name in file["time"]]
            for name in ("communication/bytes_sent", *times, *(f"mean_model/{m}" for m in EVALUATED)):
                values = file[name][:-1]
                if name.startswith("mean_model/"):
                    values[-1] = np.nan if name.endswith("_loss") else 1.0
                del file[name]
                file[name] = values
        return path

    return make


@pytest.fixture
def made_up(tmp_path: Path) -> Callable[..., Path]:
    """Files that hold root attributes alone, which is all that tables read."""
    count = iter(range(1000))

    def make(
        strategy: str | None = "unweighted",
        seed: int = 0,
        ood_node: int | None = 0,
        auc: float = 1.0,
        topology: str = "chain:n=3",
        status: str = "complete",
        rounds_done: int | None = None,
        worst: float = 0.25,
        attributes: dict[str, float] | None = None,
        **flags: object,
    ) -> Path:
        flags |= {"topology_file": topology, "seed": seed}
        flags |= {"aggregation_strategy": strategy} if strategy else {}
        if ood_node is not None:
            flags |= {"backdoor": True, "backdoor_node_idx": (ood_node,)}
        made = config.make(flags)
        path = tmp_path / f"{next(count)}.h5"
        Content(
            {
                "": {
                    "schema_version": 1,
                    "numbers_version": "{}",
                    "experiment_id": path.stem,
                    "config": json.dumps(made.flat()),
                    "reads": json.dumps(sorted(made.id_fields())),
                    "status": status,
                    "rounds_done": made.run.rounds if rounds_done is None else rounds_done,
                    "graph_id": f"{topology} {seed}",
                    "topology_source": f"{topology},seed={seed}",
                    "topology_family": topology,
                    "segments": "[]",
                    "auc_points": 10,
                    "auc_test": 2 * auc,
                    "auc_ood": auc,
                    "auc_asr": auc / 2,
                    "final_test": 0.75,
                    "final_ood": 0.5,
                    "worst_test": 0.5,
                    "worst_ood": worst,
                    **(attributes or {}),
                }
            }
        ).write(path)
        return path

    return make


@pytest.fixture
def varied(made_up: Callable[..., Path]) -> list[Path]:
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
    return files


@pytest.fixture
def with_controls(made_up: Callable[..., Path]) -> list[Path]:
    """Two strategies on three OOD nodes, and each once without OOD data."""
    files = [made_up("unweighted", ood_node=node, auc=40 + node) for node in range(3)]
    files += [made_up("degCent", ood_node=node, auc=50 + node) for node in range(3)]
    files.append(made_up("unweighted", ood_node=None, auc=8, worst=0.1))
    files.append(made_up("degCent", ood_node=None, auc=12, worst=0.2))
    return files


@pytest.fixture
def algorithm_run(made_up: Callable[..., Path]) -> Callable[..., Path]:
    """A file of one algorithm at one concentration of the labels."""

    def make(
        algorithm: str,
        alpha: float,
        worst: float,
        *,
        lr: float = 0.1,
        seed: int = 0,
        topology: str = "cycle:n=4",
        **flags: object,
    ) -> Path:
        flags |= {"algorithm": algorithm, "label_alpha": alpha, "lr": lr, "partition": "equal"}
        return made_up(None, seed, None, topology=topology, attributes={"worst_test": worst}, **flags)

    return make
