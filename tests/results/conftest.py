"""One finished experiment with OOD data on a chain of three nodes; files made up from a few numbers."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dml import config, experiment
from dml.results.record import EVALUATED


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
        with h5py.File(path, "r+") as file:
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
            for name in ("communication/bytes_sent", "time/round_s", *(f"mean_model/{m}" for m in EVALUATED)):
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
        with h5py.File(path, "w") as file:
            file.attrs.update(
                {
                    "schema_version": 1,
                    "numbers_version": "{}",
                    "experiment_id": path.stem,
                    "config": json.dumps(made.flat()),
                    "reads": json.dumps(sorted(made.decides())),
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
            )
        return path

    return make
