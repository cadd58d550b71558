"""Experiments with one model on virtual batches: their files, stop and resume, and what is refused."""

import json
import random
import signal
import time
from functools import partial

import numpy as np
import pytest
from edited import edited
from image_files import parquet_folder
from stopping import StopAfter, has_done, start_experiment, wait_until

from dml import config, experiment, results
from dml.errors import DamagedFileError, InputError
from dml.plan import make_plan
from dml.results import checkpoint
from dml.results.run_text import run_text
from dml.traversal.plan import epoch_plan

SMALL = {"topology_file": "cycle:n=5", "threads": 1, "rounds": 2, "epochs": 2, "batch_size": 64}


def made(tmp_path, **flags):
    return config.make({"algorithm": "centralized", "out_dir": tmp_path, **SMALL, **flags})


def run(tmp_path, **flags):
    return results.load(experiment.run(made(tmp_path, **flags)))


def test_the_one_model_is_measured_once_and_stands_in_the_column_of_every_node(tmp_path):
    loaded = run(tmp_path, backdoor=True, train_test_val=(0.7, 0.1, 0.2))
    a, attributes = loaded.arrays, loaded.attributes
    assert attributes["row_kind"] == "one"
    assert (a["metrics/epoch"] == [0, 1, 0, 1, -1]).all()
    for name in ("test_loss", "test_acc", "ood_loss", "ood_acc", "ood_asr"):
        column = a[f"metrics/{name}"]
        assert column.shape == (5, 5)
        assert np.isfinite(column).all()
        assert (column == column[:, :1]).all()
        assert np.array_equal(a[f"mean_model/{name}"], column[:, 0])
    assert not a["metrics/consensus_distance"].any()
    for name in ("train_loss", "train_acc", "local_test_acc", "local_val_acc"):
        assert (a[f"metrics/{name}"][0] != a[f"metrics/{name}"][0, 0]).any(), name
    assert not a["communication/bytes_sent"].any()
    assert (a["metrics/updates"] == [0, 5, 5, 10, 10]).all()
    assert attributes["auc_test"] == pytest.approx(a["metrics/test_acc"][:4, 0].astype(float).sum())
    assert attributes["plan_sha256"] == epoch_plan(a["data/samples"], 64, 0, 0).sha256
    text = run_text(loaded)
    assert "hop" not in text
    assert max(map(len, text.splitlines())) <= 80
    of_model, _, of_nodes = text.partition("accuracy on the data of nodes")
    assert "node 1)" not in of_model
    assert of_nodes.split()[:5] == ["mean", "worst", "node", "best", "node"]
    own = a["metrics/local_test_acc"][-1]
    (share,) = [line for line in of_nodes.splitlines() if line.startswith("own test share")]
    assert f"{own.min():.3f} (node {own.argmin()})" in share


def test_its_start_and_its_row_are_those_of_one_node(tmp_path):
    """The start is that of --init same, so that it stands in one table with other algorithms."""
    chosen = made(tmp_path / "a", lr=0.0)
    other = config.make(
        {"aggregation_strategy": "test_agg", **SMALL, "out_dir": tmp_path / "b", "init": "same", "lr": 0.0}
    )
    X, start = (
        checkpoint.read(checkpoint.path_of(experiment.run(c)), make_plan(c).identity.id).X
        for c in (chosen, other)
    )
    assert len(X) == 1
    assert np.array_equal(X[0], start[3])


def test_traversal_ends_at_the_model_of_centralized_training_and_says_so(tmp_path):
    flags = {"momentum": 0.9, "sample_alpha": 0.5, "backdoor": True}
    one = run(tmp_path, **flags)
    for more in ({}, {"mode": "cut=1"}, {"visits": "apart"}, {"visits": "apart", "mode": "cut=1"}):
        found = run(tmp_path, algorithm="traversal", **flags, **more)
        assert found.attributes["lossless"]
        assert found.attributes["visits"] == more.get("visits", "together")
        assert found.attributes["plan_sha256"] == one.attributes["plan_sha256"]
        for name in ("test_acc", "ood_acc", "train_acc"):
            assert np.array_equal(
                found.arrays[f"metrics/{name}"], one.arrays[f"metrics/{name}"], equal_nan=True
            )
        np.testing.assert_allclose(
            found.arrays["metrics/test_loss"],
            one.arrays["metrics/test_loss"],
            rtol=1e-5 if "visits" in more else 0,
        )
    deep = {"model": "deep_linear", "rounds": 1}
    one = run(tmp_path, **flags, **deep)
    for visits in ("together", "apart"):
        found = run(tmp_path, algorithm="traversal", mode="legacy3", visits=visits, **flags, **deep)
        assert found.attributes["lossless"]
        losses = (loaded.arrays["metrics/test_loss"] for loaded in (found, one))
        np.testing.assert_allclose(*losses, rtol=1e-5 if visits == "apart" else 0)
    rounded = run(tmp_path, algorithm="traversal", visits="apart", precision="bf16", rounds=1)
    assert not rounded.attributes["lossless"]
    assert "bfloat16" in rounded.attributes["lossy_because"]


@pytest.mark.parametrize("graph", ["cycle:n=5", "star:n=5", "barabasi_albert:n=5,m=2"])
def test_the_way_of_the_visits_changes_bytes_and_time_and_nothing_else(tmp_path, graph):
    """The bytes are hops x (4 P out and 4 P + 8 back) for each visited node, in each virtual batch."""
    flags = {"algorithm": "traversal", "topology_file": graph, "latency": 0.1, "bandwidth": 1e6}
    ways = [("2", "relayed"), ("best", "relayed"), ("rotating", "relayed"), ("2", "collected")]
    found = [run(tmp_path, **flags, orchestrator=where, visits_go=how) for where, how in ways]
    assert found[0].attributes["orchestrator"] == 2
    for other in found[1:]:
        for name in ("metrics/test_loss", "metrics/train_loss"):
            assert np.array_equal(other.arrays[name], found[0].arrays[name], equal_nan=True)
    graph_of = make_plan(made(tmp_path, topology_file=graph)).topology
    hops = graph_of.distance_to([2])
    samples, model = found[0].arrays["data/samples"], 4810
    expected = [0, 0]
    for epoch in range(4):
        rows = epoch_plan(samples, 64, 0, epoch).rows
        expected[epoch // 2] += int(((rows > 0) @ hops).sum()) * (8 * model + 8)
    assert found[0].arrays["communication/bytes_sent"].sum(1).tolist() == expected
    assert found[0].arrays["communication/edge_bytes"].sum() == sum(expected)
    assert found[0].series("bytes").tolist()[1:4:2] == np.cumsum(expected).tolist()
    sent = [other.arrays["communication/bytes_sent"].sum() for other in found]
    times = [other.attributes["simulated_s"] for other in found]
    assert len(set(times)) > 1
    assert sent[3] < sent[0] or graph == "star:n=5"
    assert found[2].arrays["communication/hand_over_bytes"].all()
    seconds = found[0].series("simulated_s")
    assert (np.diff(seconds[:4]) > 0).all()
    assert seconds[-1] == pytest.approx(times[0])


@pytest.mark.parametrize(
    "flags",
    [
        {"local_steps": 5, "rounds": 4, "algorithm": "traversal", "visits": "apart", "mode": "cut=1"},
        {"local_steps": 7, "momentum": 0.9, "rounds": 6, "eval_every": 2},
        {"optimizer": "adam", "rounds": 3, "keep_optimizer": False, "batch_order": "fixed"},
    ],
    ids=str,
)
def test_stopped_and_called_again_it_ends_with_the_same_bits(tmp_path, flags):
    if "local_steps" in flags:
        flags = {**flags, "epochs": None}
    flags = {flag: value for flag, value in {**SMALL, **flags}.items() if value is not None}
    whole, pieces = (
        config.make({"algorithm": "centralized", **flags, "out_dir": tmp_path / name})
        for name in ("whole", "pieces")
    )
    path = experiment.run(whole)
    for _ in range(2):
        with pytest.raises(experiment.Stopped):
            experiment.run(pieces, stop=StopAfter(1))
    again = experiment.run(pieces)
    assert results.differences(path, again) == []
    saved = [checkpoint.read(checkpoint.path_of(p), make_plan(whole).identity.id) for p in (path, again)]
    assert np.array_equal(saved[0].X, saved[1].X)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"algorithm": "traversal", "visits": "apart", "momentum": 0.9},
        {"algorithm": "traversal", "mode": "cut=1", "optimizer": "adam"},
        {"algorithm": "centralized", "optimizer": "adadelta"},
    ],
    ids=str,
)
def test_killed_at_a_random_moment_and_called_again_it_ends_with_the_same_bits(tmp_path, flags):
    """Twice, by kill -9, within some round; what is lost is the rounds since the last checkpoint."""
    flags = {**SMALL, "rounds": 12, "epochs": 10, "checkpoint_every": 1, **flags}
    whole, pieces = (config.make({**flags, "out_dir": tmp_path / name}) for name in ("whole", "pieces"))
    path = experiment.run(whole)
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    killed, kills = tmp_path / "pieces" / path.name, 0
    for rounds in (1, 4):
        running = start_experiment(tmp_path, *words, "--out_dir", "pieces")
        assert wait_until(partial(has_done, killed, rounds))
        time.sleep(random.uniform(0, 0.2))
        running.kill()
        kills += running.wait() == -signal.SIGKILL
    assert kills >= 1
    again = experiment.run(pieces)
    assert len(results.load(again).segments) >= 2
    assert results.differences(path, again) == []
    saved = [checkpoint.read(checkpoint.path_of(p), make_plan(whole).identity.id) for p in (path, again)]
    assert np.array_equal(saved[0].X, saved[1].X)


@pytest.mark.slow
def test_sigterm_within_a_long_round_ends_after_the_round_and_loses_nothing(tmp_path):
    """As with any algorithm that has rounds."""
    flags = {**SMALL, "algorithm": "traversal", "rounds": 3, "epochs": 60, "checkpoint_every": 1}
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    whole, pieces = (config.make({**flags, "out_dir": tmp_path / name}) for name in ("whole", "pieces"))
    path = make_plan(pieces).result
    running = start_experiment(tmp_path, *words, "--out_dir", "pieces")
    assert wait_until(partial(has_done, path, 1))
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 75
    assert "stopped after round 2 of 3: asked to by SIGTERM" in err
    assert has_done(path, 2)
    assert results.differences(experiment.run(whole), experiment.run(pieces)) == []


CLOCK = {"compute": "exponential:0.1", "latency": 0.2, "bandwidth": 1e6, "slow_nodes": ("2@3",)}


def times_of(loaded):
    arrays = {name: a.tolist() for name, a in loaded.arrays.items() if "simulated" in name}
    return arrays, loaded.attributes["simulated_s"]


@pytest.mark.parametrize(
    "flags", [{"mode": "cut=1", "orchestrator": "rotating"}, {"local_steps": 7, "visits_go": "collected"}]
)
def test_another_clock_gives_visits_the_times_of_a_fresh_run(tmp_path, flags, monkeypatch):
    flags = {"algorithm": "traversal", "eval_every": 1, "rounds": 3, **flags}
    if "local_steps" in flags:
        monkeypatch.delitem(SMALL, "epochs")
    fresh = run(tmp_path / "fresh", **flags, **CLOCK)
    finished = run(tmp_path / "finished", **flags)
    assert times_of(finished) != times_of(fresh)
    # Continued with another clock, the earlier rounds have the new times as well.
    run(tmp_path / "continued", **flags | {"rounds": 1})
    assert times_of(run(tmp_path / "continued", **flags, **CLOCK)) == times_of(fresh)
    monkeypatch.setattr(experiment, "_Run", None)
    again = run(tmp_path / "finished", **flags, **CLOCK)
    assert times_of(again) == times_of(fresh)
    assert again.config["latency"] == 0.2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"orchestrator": 0, ', '{"nobody": 0, '),
        ('"orchestrator": 0', '"orchestrator": 5'),
        ('"phases": [', '"phases": [3, '),
        ('"state": ', '"state": -'),
        ('"down": ', '"down": 9999999999999999'),
        ('"at_nodes": ', '"at_nodes": "x", "at_orchestrator": '),
        ("{", ""),
    ],
)
def test_costs_that_cannot_be_right_get_no_other_clock(tmp_path, old, new):
    flags = {"algorithm": "traversal", "orchestrator": 0, "rounds": 1, "epochs": 1, "batch_size": 500}
    path = experiment.run(made(tmp_path, **flags))
    with edited(path) as file:
        assert old in file.attrs["visit_costs"]
        file.attrs["visit_costs"] = file.attrs["visit_costs"].replace(old, new, 1)
    before = path.read_bytes()
    with pytest.raises(DamagedFileError, match=r"cannot be read .*not changed"):
        run(tmp_path, **flags, latency=0.2)
    assert path.read_bytes() == before


def test_a_run_that_diverges_says_so(tmp_path):
    loaded = run(tmp_path, lr=1e20)
    assert loaded.attributes["status"] == "diverged"
    table = run_text(loaded).split("\n\n")[1].splitlines()
    assert [line.endswith(" not finite") for line in table[1:5]] == [True] * 4


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"participation": 0.5}, "participation 0.5: has no effect"),
        ({"failing_nodes": ("1@1",)}, "failing_nodes .*1@1.*: has no effect"),
        ({"drop_probability": 0.1}, "drop_probability 0.1: has no effect"),
        ({"aggregation_strategy": "degCent"}, "aggregation_strategy degCent: has no effect"),
        ({"prox_coeff": 0.1}, "prox_coeff 0.1: has no effect"),
        ({"engine": "batched"}, "engine batched: .* because centralized trains one model"),
        ({"init": "different"}, "init different: must be same"),
        ({"batch_order": "old"}, "batch_order old: "),
        ({"algorithm": "dpsgd", "batch_order": "fixed"}, "batch_order fixed: has no effect.* centralized"),
        ({"mode": "grads"}, "mode grads: has no effect in this experiment: take --algorithm traversal"),
        ({"algorithm": "traversal", "participation": 0.5}, "participation 0.5: has no effect"),
        (
            {"algorithm": "traversal", "mode": "cut=0"},
            "mode cut=0: cut=0 is not grads, legacy3, or cut=K with K",
        ),
        ({"algorithm": "traversal", "mode": "legacy"}, "mode legacy: legacy is not grads, legacy3"),
        (
            {"algorithm": "traversal", "mode": "legacy3", "visits": "apart", "precision": "bf16"},
            "precision bf16: legacy3 is computed in fp32 if visits are apart",
        ),
        ({"algorithm": "traversal", "visits": "alone"}, "visits alone: "),
        ({"algorithm": "traversal", "orchestrator": 5}, "orchestrator 5: the graph has the nodes 0 to 4"),
        ({"algorithm": "traversal", "orchestrator": "hub"}, "orchestrator hub: hub is not best, rotating"),
        ({"orchestrator": 1}, "orchestrator 1: has no effect in this experiment: take --algorithm traversal"),
        ({"algorithm": "traversal", "busy": "parallel"}, "busy parallel: has no effect"),
        (
            {"algorithm": "traversal", "topology_file": "stochastic_block:blocks=2,size=3,p_in=1,p_out=0"},
            "messages to all nodes need a connected graph",
        ),
        ({"algorithm": "traversal", "labels": "at_node"}, "labels at_node: has no effect"),
    ],
)
def test_wrong_calls_are_refused_before_anything_starts(tmp_path, flags, told):
    with pytest.raises(InputError, match=told):
        make_plan(made(tmp_path, **flags))
    assert not list(tmp_path.iterdir())


def test_a_graph_whose_links_may_fail_is_refused_where_visits_go_over_it(tmp_path):
    path = tmp_path / "ring.txt"
    path.write_text("0 1 1\n1 0 0.5\n1 0.5 0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"ring.* needs links that always work"):
        make_plan(made(tmp_path, algorithm="traversal", topology_file=str(path)))
    # Centralized training sends nothing.
    assert make_plan(made(tmp_path, topology_file=str(path))).topology.n == 3


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"mode": "cut=2"}, "mode cut=2: mlp has the cuts cut=1$"),
        ({"mode": "cut=2", "visits": "apart"}, "mode cut=2: mlp has the cuts cut=1$"),
        ({"mode": "legacy3"}, "mode legacy3: mlp is no perceptron of three linear layers or more"),
        ({"mode": "legacy3", "model": "cnn"}, "mode legacy3: cnn is no perceptron of three linear layers"),
    ],
)
def test_a_mode_that_the_model_does_not_have_is_refused_before_anything_starts(tmp_path, flags, told):
    with pytest.raises(InputError, match=told):
        make_plan(made(tmp_path, algorithm="traversal", **flags))
    assert not list(tmp_path.iterdir())
    assert make_plan(made(tmp_path, algorithm="traversal", mode="legacy3", model="deep_linear"))


@pytest.mark.slow
def test_batch_norm_at_the_nodes_ends_at_the_same_model_for_the_same_bytes_and_time(tmp_path):
    images = str(parquet_folder(tmp_path / "images", 24, 8, side=16, channels=3, classes=3))
    flags = {
        "dataset": images,
        "model": "mobilenetv2",
        "topology_file": "chain:n=3",
        "rounds": 1,
        "epochs": 1,
    }
    flags |= {"algorithm": "traversal", "batch_size": 8, "bandwidth": 1e6, "latency": 0.01}
    together, apart = (run(tmp_path, **flags, visits=visits) for visits in ("together", "apart"))
    assert apart.attributes["lossless"]
    for name in ("communication/bytes_sent", "time/simulated_s"):
        assert np.array_equal(apart.arrays[name], together.arrays[name]), name
    np.testing.assert_allclose(
        apart.arrays["metrics/test_loss"], together.arrays["metrics/test_loss"], rtol=1e-2
    )
    # A stop at each of 52 batch norms on both ways, and the last answer.
    assert len(json.loads(apart.attributes["visit_costs"])["phases"]) == 2 * 52 + 1


def test_without_training_there_is_nothing_to_run(tmp_path):
    with pytest.raises(InputError, match="no_train: leave it out: only training changes"):
        config.make({"algorithm": "centralized", "train": False, "out_dir": tmp_path})


def test_more_nodes_than_samples_are_refused(tmp_path):
    with pytest.raises(InputError, match="has 2000 nodes for 1437 training samples"):
        make_plan(made(tmp_path, topology_file="cycle:n=2000"))
