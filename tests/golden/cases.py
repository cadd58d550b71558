"""The runs whose numbers are kept in ``losses.json``, and how they are measured.

After a change that is meant to move numbers, make the file again on one thread and say in the commit which
numbers moved and why:

    python tests/golden/cases.py          # all cases
    python tests/golden/cases.py new      # only those that the file lacks
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from image_files import parquet_folder

from dml import config, experiment, results
from dml.algorithms.build import build
from dml.algorithms.registry import ALGORITHMS
from dml.coefficients.strategies import STRATEGIES
from dml.quadratics.problem import RandomQuadratics, run
from dml.topology import make

FILE = Path(__file__).with_name("losses.json")

LOSSES = ("train_loss", "test_loss", "ood_loss")

GRAPH = "barabasi_albert:n=6,m=2,seed=0"
BASE: dict[str, Any] = {
    "topology_file": GRAPH,
    "rounds": 2,
    "epochs": 1,
    "batch_size": 64,
    "backdoor": True,
    "threads": 1,
    "keep_checkpoint": False,
}
STEPS: dict[str, Any] = {"local_steps": 2, "rounds": 4, "eval_every": 2, "momentum": 0.9}
LOSSY = {"drop_probability": 0.3}
NODES_FAIL = {"failing_nodes": ("3@1", "5@2")}
TOKENS = {"dataset": "tiny_mem", "num_example": 40, "length": 3, "max_ctx": 24, "n_layer": 1, "lr": 1e-3}
ENGINES = ("loop", "batched")


def _strategies() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for engine in ENGINES:
        for name, strategy in STRATEGIES.items():
            softmax = {"softmax": True} if "softmax" in dict(strategy.options.flags()) else {}
            cases[f"{engine}, {name}"] = {"engine": engine, "aggregation_strategy": name, **softmax}
    for name in ("degCent", "betCent", "random", "pagerank"):
        cases[f"{name} over its sum"] = {"aggregation_strategy": name}
    for schedule in ("exp", "CA", "osc"):
        flags = {"aggregation_strategy": "degCent", "softmax": True, "rounds": 4, "scheduler": schedule}
        cases[f"degCent, s by {schedule}"] = {**flags, **({} if schedule == "exp" else {"T_0": 2})}
    for rule in ALGORITHMS["decentralized"].loss_rules:
        cases[f"decentralized, {rule}"] = {**LOSSY, "loss_rule": rule, "aggregation_strategy": "weighted"}
    cases["betCent_sim, renormalise"] = {**LOSSY, "aggregation_strategy": "betCent_sim", "softmax": True}
    cases["participation 0.5"] = {"participation": 0.5}
    cases["self_weight 0.3"] = {"self_weight": 0.3, "aggregation_strategy": "metropolis_hastings"}
    for order in ("in_place", "in_place_by_readiness"):
        cases[f"decentralized, {order}"] = {**LOSSY, "aggregation_order": order}
    cases["without training"] = {"train": False}
    cases["decentralized, nodes fail"] = {**NODES_FAIL, "participation": 0.5, "rounds": 3}
    return cases


def _algorithms() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for name, algorithm in ALGORITHMS.items():
        if name == "decentralized" or algorithm.one_model:
            continue
        own: dict[str, Any] = {"algorithm": name, **STEPS}
        if name == "d2":
            own["edge_weight"] = 0.1
        if name.endswith("scaffold"):
            own["momentum"] = 0.0
        for engine in ENGINES:
            cases[f"{engine}, {name}"] = {**own, "engine": engine}
        for rule in algorithm.loss_rules:
            cases[f"{name}, {rule}"] = {**own, **LOSSY, "loss_rule": rule}
        cases[f"{name}, nodes fail"] = {
            **own,
            **NODES_FAIL,
            **({"edge_weight": 0.05} if name == "d2" else {}),
        }
    relay = {"algorithm": "relaysgd", **STEPS}
    cases["relaysgd, overlap"] = {**relay, "overlap": True}
    cases["relaysgd, two chains"] = {**relay, "topology_file": "cycle:n=6", "tree": "two_chains"}
    trees = {"topology_file": "double_binary_trees:n=8", "tree": "double_binary_trees"}
    cases["relay_mix, two trees in parts"] = {
        **relay, **trees, "algorithm": "relay_mix", "tree_slices": "contiguous",
    }  # fmt: skip
    cases["relaysgd, random tree"] = {**relay, "tree": "random", "lr_correction": 2.0}
    cases["one_peer_exponential, 3 exchanges"] = {
        **STEPS, "algorithm": "one_peer_exponential", "exchanges": 3,
    }  # fmt: skip
    cases["dpsgd, whole epochs"] = {"algorithm": "dpsgd"}
    pairwise = {**STEPS, **LOSSY, "algorithm": "pairwise", "compute": "exponential:1", "latency": 0.5}
    for form in ("swap", "push", "running_sum"):
        cases[f"pairwise, {form}"] = {**pairwise, "pairwise_form": form}
    for interpolation in ("clock", "loss", "linear", "divergence"):
        cases[f"pairwise, {interpolation}"] = {**pairwise, "interpolation": interpolation, "overlap": True}
    return cases


def _one_model() -> dict[str, dict[str, Any]]:
    steps = {"local_steps": 7, "rounds": 4, "eval_every": 2, "momentum": 0.9}
    image = {"topology_file": "chain:n=3", "dataset": "folder", "batch_size": 8, "lr": 0.01}
    return {
        "centralized": {"algorithm": "centralized"},
        "traversal": {"algorithm": "traversal"},
        "traversal, apart": {"algorithm": "traversal", "visits": "apart", **steps},
        "traversal, apart at a cut": {"algorithm": "traversal", "visits": "apart", "mode": "cut=1"},
        "traversal, labels at the nodes": {
            "algorithm": "traversal", **image, "model": "cnn_dropout", "augment": True, "rounds": 1,
            "visits": "apart", "mode": "cut=2", "labels": "at_node",
        },
        "traversal, decoder": {
            "algorithm": "traversal", **TOKENS, "topology_file": "chain:n=3", "visits": "apart",
        },
        "traversal, decoder at a cut": {
            "algorithm": "traversal", **TOKENS, "topology_file": "chain:n=3", "visits": "apart",
            "mode": "cut=2",
        },
        "centralized, steps in a fixed order": {
            "algorithm": "centralized", "batch_order": "fixed", **steps,
        },
        "centralized, dropout, augmented images": {
            "algorithm": "centralized", **image, "model": "cnn_dropout", "augment": True, "rounds": 1,
        },
        "centralized, batch norm": {
            "algorithm": "centralized", **image, "model": "mobilenetv2", "rounds": 1,
        },
        "traversal, batch norm at the nodes": {
            "algorithm": "traversal", **image, "model": "mobilenetv2", "rounds": 1, "visits": "apart",
            "mode": "cut=3",
        },
        "centralized, decoder": {"algorithm": "centralized", **TOKENS, "topology_file": "chain:n=3"},
        "split": {"algorithm": "split"},
        "split, steps, labels at the nodes": {"algorithm": "split", "labels": "at_node", **steps},
        "split, batch norm": {"algorithm": "split", **image, "model": "mobilenetv2", "rounds": 1},
        "splitfed": {"algorithm": "splitfed"},
        "splitfed, steps with optimisers that go on": {
            "algorithm": "splitfed", "keep_optimizer": True, **steps, "local_steps": 3,
        },
        "splitfed, batch norm": {"algorithm": "splitfed", **image, "model": "mobilenetv2", "rounds": 1},
        "splitfed, dropout, augmented images": {
            "algorithm": "splitfed", **image, "model": "cnn_dropout", "augment": True, "mode": "cut=2",
            "rounds": 1,
        },
    }  # fmt: skip


def _training() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    optimizers: dict[str, dict[str, Any]] = {
        "momentum": {"momentum": 0.9},
        "nesterov": {"momentum": 0.9, "nesterov": True},
        "adam": {"optimizer": "adam", "lr": 1e-3},
        "adamw": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01},
        "adadelta": {"optimizer": "adadelta", "weight_decay": 0.01},
        "weight decay": {"weight_decay": 0.01},
        "bf16": {"precision": "bf16"},
    }
    for engine in ENGINES:
        for name, flags in optimizers.items():
            cases[f"{engine}, {name}"] = {"engine": engine, **flags}
        kept = {"momentum": 0.9, "keep_optimizer": True, "local_steps": 5}
        cases[f"{engine}, steps with an optimiser that goes on"] = {"engine": engine, **kept}
        cases[f"{engine}, decoder"] = {"engine": engine, **TOKENS, "topology_file": "chain:n=3"}
    cases["a rate that falls in steps"] = {"lr_schedule": "step:1,0.5"}
    cases["a rate that warms up"] = {"lr_schedule": "warmup:2"}
    tracking = {"algorithm": "gradient_tracking", **STEPS}
    cases["gradient_tracking, a rate that falls in steps"] = {**tracking, "lr_schedule": "step:2,0.1"}
    cases["async_gossip, a rate that warms up"] = {
        **STEPS, "algorithm": "async_gossip", "lr_schedule": "warmup:3",
    }  # fmt: skip
    cases["prox_coeff 0.1"] = {"prox_coeff": 0.1}
    cases["the same start"] = {"init": "same"}
    cases["no shuffle"] = {"shuffle": False}
    return cases


def _data() -> dict[str, dict[str, Any]]:
    image = {"topology_file": "chain:n=3", "dataset": "folder", "batch_size": 8, "lr": 0.01}
    return {
        "equal partition": {"partition": "equal", "label_alpha": 0.1},
        "clustered labels": {"partition": "equal", "label_alpha": 0.1, "label_placement": "clustered"},
        "mixed labels": {"label_alpha": 1.0, "label_placement": "mixed"},
        "uneven amounts": {"sample_alpha": 1.0, "label_alpha": 1.0},
        "largest part on the most central node": {"sample_alpha": 1.0, "random_data_placement": False},
        "held-out class": {"ood_kind": "heldout_class", "ood_class": 3},
        "rotated": {"ood_kind": "rotated"},
        "trigger anywhere": {"random_bd": True, "many_to_one": False},
        "own shares": {"train_test_val": (0.7, 0.1, 0.2)},
        "two OOD nodes": {"backdoor_node_idx": (1, 4), "backdoor_proportion": 0.3},
        "links that fail": {"topology_file": "links"},
        "augmented images": {**image, "augment": True},
        "batch norm": {**image, "model": "mobilenetv2", "rounds": 1},
        "dropout": {**image, "model": "cnn_dropout", "rounds": 1},
        "sums of tokens": {**TOKENS, "topology_file": "chain:n=3", "task_type": "sum"},
    }


CASES: dict[str, dict[str, Any]] = _strategies() | _algorithms() | _one_model() | _training() | _data()
"""Flags of a single run by the name of the case, besides those of ``BASE``."""

QUADRATICS = ("relaysgd@chain", "relaysgd_grad@chain", "relay_mix@binary_tree", "dpsgd@cycle", "d2@chain",
              "exact_diffusion@cycle", "gradient_tracking@cycle", "quasi_global_momentum@cycle",
              "push_sum@star", "allreduce@complete", "one_peer_exponential@complete",
              "fedavg@star", "fedprox@star", "scaffold@star", "huscaffold@star",
              "hscaffold@star", "mifa@star", "fedau@star")  # fmt: skip
"""Algorithm and graph of 9 nodes with random quadratics, in float64."""


def measure(flags: dict[str, Any], folder: Path) -> dict[str, list[float]]:
    """The losses and bytes of an experiment: means over its nodes by row, and each node's at the last row."""
    flags = {**BASE, **flags, "out_dir": folder / "out"}
    if flags.get("dataset") == "folder":
        side = 16
        flags["dataset"] = str(parquet_folder(folder / "images", 48, 16, side=side, channels=3, classes=4))
    if flags["topology_file"] == "links":
        flags["topology_file"] = str(folder / "links.txt")
        weights = 0.5 + np.abs(np.subtract.outer(np.arange(5), np.arange(5))) / 10
        np.fill_diagonal(weights, 0)
        np.savetxt(folder / "links.txt", weights)
    # Some cases do not read all of BASE; a flag of their own that nothing reads would be refused.
    switches = {"local_steps": "epochs", "train": "epochs batch_size"}
    unread = {flag for switch, words in switches.items() if switch in flags for flag in words.split()}
    chosen = config.make({flag: value for flag, value in flags.items() if flag not in unread})
    found = results.load(experiment.run(chosen))
    values: dict[str, list[float]] = {"bytes": [int(found.arrays["communication/bytes_sent"].sum())]}
    for name in LOSSES:
        rows = found.arrays[f"metrics/{name}"].astype(np.float64)
        values[name] = [*_mean(rows), *rows[-2 if name == "train_loss" else -1]]
    return values


def _mean(rows: np.ndarray) -> list[float]:
    """Over the nodes that have a value; NaN where none has."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return list(np.where(known, rows, 0).sum(1) / known.sum(1))


def measure_quadratics(text: str) -> dict[str, list[float]]:
    """The errors of 12 steps with momentum on random quadratics."""
    name, graph = text.split("@")
    topology = make(f"{graph}:n=9", 0)
    problem = RandomQuadratics(topology.n, d=6, zeta2=1.0, noise=0.1, seed=3)
    trace = run(problem, lambda X: build(name, topology, X, seed=3, prox_coeff=0.1), 0.1, 12, momentum=0.5)
    return {"errors": list(trace.errors)}


def main() -> None:
    """Writes the file."""
    torch.set_num_threads(1)
    known = json.loads(FILE.read_text(encoding="utf-8")) if sys.argv[1:] == ["new"] else {}
    os.environ["DML_DATA"] = tempfile.mkdtemp()
    for name, flags in CASES.items():
        if name not in known:
            with tempfile.TemporaryDirectory() as folder:
                known[name] = measure(flags, Path(folder))
    for text in QUADRATICS:
        if text not in known:
            known[text] = measure_quadratics(text)
    lines = [f" {json.dumps(name)}: {json.dumps(_short(values))}" for name, values in known.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(known)} cases in {FILE}")


def _short(values: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Nine digits of each number, more than fp32 has; null for NaN."""
    return {
        k: [None if v is None or np.isnan(v) else float(f"{v:.9g}") for v in column]
        for k, column in values.items()
    }


if __name__ == "__main__":
    main()
