"""Experiments with split and SplitFed learning: bytes, times, files, stop and resume, and what is refused."""

import networkx as nx
import numpy as np
import pytest
from edited import edited
from stopping import StopAfter

from dml import capacity, config, experiment, results
from dml.errors import DamagedFileError, InputError
from dml.plan import make_plan
from dml.results import checkpoint
from dml.traversal.messages import HEADER
from dml.traversal.own_batches import own_batches

SMALL = {"topology_file": "chain:n=5", "threads": 1, "rounds": 2, "epochs": 2, "batch_size": 64}
BOTH = pytest.mark.parametrize("algorithm", ["split", "splitfed"])

LOWER, AT_CUT, OUTPUTS = 64 * 64 + 64, 64, 10
"""The default model on digits, cut=1: 64-64-10."""


def made(tmp_path, algorithm, **flags):
    return config.make({"algorithm": algorithm, "out_dir": tmp_path, **SMALL, **flags})


def run(tmp_path, algorithm, **flags):
    return results.load(experiment.run(made(tmp_path, algorithm, **flags)))


@BOTH
def test_the_file_has_one_model_and_says_why_it_is_not_that_of_centralized_training(tmp_path, algorithm):
    loaded = run(tmp_path, algorithm, backdoor=True, train_test_val=(0.7, 0.1, 0.2))
    a, attributes = loaded.arrays, loaded.attributes
    assert (attributes["row_kind"], attributes["cut"], attributes["orchestrator"]) == ("one", 1, 2)
    assert not attributes["lossless"]
    words = {"split": "the nodes follow one another", "splitfed": "averaged after each round"}
    assert words[algorithm] in attributes["lossy_because"]
    assert (a["metrics/epoch"] == [0, 1, 0, 1, -1]).all()
    for name in ("test_loss", "test_acc", "ood_loss", "ood_acc"):
        assert np.isfinite(a[f"metrics/{name}"]).all()
        assert (a[f"metrics/{name}"] == a[f"metrics/{name}"][:, :1]).all()
    assert (a["metrics/train_loss"][0] != a["metrics/train_loss"][0, 0]).any()
    assert a["metrics/test_acc"][-1, 0] > 0.3
    own = own_batches(a["data/samples"], 64, 0, 0, side_by_side=algorithm == "splitfed")
    assert attributes["plan_sha256"] == own.sha256


def hops_of(tmp_path, graph):
    topology = make_plan(made(tmp_path, "split", topology_file=graph)).topology
    return nx.floyd_warshall_numpy(topology.graph(), weight=None).astype(int)


@pytest.mark.parametrize(
    ("graph", "flags", "remembered"),
    [
        ("cycle:n=5", {}, 0),
        ("star:n=5", {"momentum": 0.9}, 1),
        ("barabasi_albert:n=6,m=2", {"labels": "at_node", "optimizer": "adam"}, 2),
    ],
)
def test_split_learning_sends_what_the_formulas_say(tmp_path, graph, flags, remembered):
    """Rows to the server and back, and the lower part with its momentum over the hops to the next node."""
    loaded = run(tmp_path, "split", topology_file=graph, orchestrator=3, **flags)
    lengths, samples = hops_of(tmp_path, graph), loaded.arrays["data/samples"]
    n, messages = len(samples), -(-samples // 64)
    row = 8 * AT_CUT + (8 * OUTPUTS if "labels" in flags else 8)
    a_pass = lengths[3] @ (row * samples + (8 * messages if "labels" in flags else 0))
    way = sum(lengths[i, i + 1] for i in range(n - 1))
    steps = [way + (lengths[n - 1, 0] if number else 0) for number in range(4)]
    parts = [2 * a_pass + 4 * LOWER * (1 + remembered) * (steps[k] + steps[k + 1]) for k in (0, 2)]
    assert loaded.arrays["communication/bytes_sent"].sum(1).tolist() == parts
    assert loaded.arrays["communication/edge_bytes"].sum() == sum(parts)
    each = 4 if "labels" in flags else 2
    control = [2 * each * int(lengths[3] @ messages) + int(steps[k] + steps[k + 1]) for k in (0, 2)]
    assert loaded.arrays["communication/control_bytes"].tolist() == [HEADER * count for count in control]


@pytest.mark.parametrize("graph", ["cycle:n=5", "barabasi_albert:n=6,m=2"])
def test_splitfed_learning_sends_what_the_formulas_say(tmp_path, graph):
    """In each round the lower part to every node and back, whatever its optimiser remembers."""
    loaded = run(tmp_path, "splitfed", topology_file=graph, orchestrator=3, momentum=0.9)
    hops, samples = hops_of(tmp_path, graph)[3], loaded.arrays["data/samples"]
    expected = 2 * hops @ ((8 * AT_CUT + 8) * samples) + hops.sum() * 8 * LOWER
    assert loaded.arrays["communication/bytes_sent"].sum(1).tolist() == [expected] * 2
    assert loaded.arrays["communication/edge_bytes"].sum() == 2 * expected
    control = HEADER * (4 * int(hops @ -(-samples // 64)) + 2 * int(hops.sum()))
    assert loaded.arrays["communication/control_bytes"].tolist() == [control] * 2


def test_a_round_that_goes_on_in_the_next_pass_hands_lower_parts_out_and_in_once(tmp_path, monkeypatch):
    monkeypatch.delitem(SMALL, "epochs")
    loaded = run(tmp_path, "splitfed", local_steps=3, rounds=5, eval_every=1, orchestrator=0)
    samples, hops = loaded.arrays["data/samples"], np.arange(5)
    assert (-(-samples // 64) == 5).all()
    # Five rounds of three steps are three passes of five steps.
    rows = 3 * hops @ ((8 * AT_CUT + 8) * samples)
    assert loaded.arrays["communication/bytes_sent"].sum() == rows + 5 * hops.sum() * 8 * LOWER


def test_the_lower_part_goes_over_the_edges_between_the_nodes(tmp_path):
    """On a chain with the server at its end, each edge carries the rows of all nodes behind it."""
    loaded = run(tmp_path, "split", orchestrator=4, rounds=1, epochs=1)
    behind = np.cumsum(loaded.arrays["data/samples"])[:4]
    to_server, back = (8 + 4 * AT_CUT) * behind + 4 * LOWER, 4 * AT_CUT * behind
    assert loaded.arrays["communication/edge_bytes"].tolist() == np.stack([to_server, back], 1).tolist()


def test_the_time_of_split_learning_is_that_of_its_steps_and_of_all_its_messages(tmp_path):
    """One after another: there is never more than one message under way."""
    clock = {"latency": 0.1, "bandwidth": 1e5, "compute": "constant:0.5"}
    for duplex in ("full", "half"):
        loaded = run(tmp_path / duplex, "split", orchestrator=0, duplex=duplex, **clock)
        a = loaded.arrays
        steps, hops = 4 * (-(-a["data/samples"] // 64)).sum(), a["communication/control_bytes"].sum() / HEADER
        expected = 0.5 * steps + 0.1 * hops + a["communication/bytes_sent"].sum() / 1e5
        assert loaded.attributes["simulated_s"] == pytest.approx(expected, rel=1e-9)
        assert a["time/simulated_s"].sum() == pytest.approx(expected, rel=1e-9)


def test_in_splitfed_learning_nodes_work_at_the_same_time_and_the_server_takes_them_one_by_one(tmp_path):
    """Without travel a step is one step of a node, but for the share above the cut, which is n of them."""
    loaded = run(tmp_path, "splitfed", compute="constant:1", latency=0.0, rounds=1, epochs=1)
    batches = -(-loaded.arrays["data/samples"] // 64)
    above = 64 * OUTPUTS / (64 * 64 + 64 * OUTPUTS)
    expected = batches.max() * (1 - above) + batches.sum() * above
    assert loaded.attributes["simulated_s"] == pytest.approx(expected, rel=1e-9)


def test_optimisers_and_what_they_remember(tmp_path):
    """One of the model, or one of each lower part and of the upper part, which start again in each round."""
    plans = {name: make_plan(made(tmp_path, name, optimizer="adam")) for name in ("split", "splitfed")}
    kept = {name: plan.config.training.keep_optimizer for name, plan in plans.items()}
    assert kept == {"split": True, "splitfed": False}
    # Besides the model, two moments of each of six optimisers, and five lower parts.
    assert capacity.training_bytes(4810, plans["split"]) == 3 * 4 * 4810
    assert capacity.training_bytes(4810, plans["splitfed"]) == (1 + 2 * 6 + 5) * 4 * 4810


@BOTH
@pytest.mark.parametrize("flags", [{}, {"local_steps": 5}], ids=str)
def test_another_clock_gives_the_times_of_a_fresh_run(tmp_path, algorithm, flags, monkeypatch):
    if flags:
        monkeypatch.delitem(SMALL, "epochs")
    clock = {"compute": "exponential:0.1", "latency": 0.2, "bandwidth": 1e5, "slow_nodes": ("2@3",)}
    fresh = run(tmp_path / "fresh", algorithm, **flags, **clock)
    finished = run(tmp_path / "finished", algorithm, **flags)
    assert times_of(finished) != times_of(fresh)
    monkeypatch.setattr(experiment, "_Run", None)
    assert times_of(run(tmp_path / "finished", algorithm, **flags, **clock)) == times_of(fresh)


def times_of(loaded):
    arrays = {name: a.tolist() for name, a in loaded.arrays.items() if "simulated" in name}
    return arrays, loaded.attributes["simulated_s"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"size": ', '"size": -', "size cannot be -16640"),
        ('"size": 16640', '"size": NaN', "size cannot be nan"),
        ('"side_by_side": false', '"side_by_side": 3', "side_by_side cannot be 3"),
        ('"unasked": true', '"unasked": 1', "unasked cannot be 1"),
        ('"down_row": 256', '"down_row": true', "down_row cannot be True"),
        ('"orchestrator": 0', '"orchestrator": null', "has no orchestrator"),
        ('"orchestrator": 0', '"orchestrator": 5', "orchestrator cannot be 5"),
    ],
)
def test_costs_that_cannot_be_right_get_no_other_clock(tmp_path, old, new, told):
    flags = {"orchestrator": 0, "rounds": 1, "epochs": 1, "batch_size": 500}
    path = experiment.run(made(tmp_path, "split", **flags))
    with edited(path) as file:
        assert old in file.attrs["visit_costs"]
        file.attrs["visit_costs"] = file.attrs["visit_costs"].replace(old, new, 1)
    with pytest.raises(DamagedFileError, match=rf"cannot be read \(.*{told}.*\).*not changed"):
        run(tmp_path, "split", **flags, latency=0.2)


@pytest.mark.parametrize(
    ("algorithm", "flags"),
    [
        ("split", {"momentum": 0.9, "local_steps": 7, "eval_every": 1}),
        ("splitfed", {"optimizer": "adam", "local_steps": 3, "keep_optimizer": True, "eval_every": 1}),
        ("splitfed", {"momentum": 0.9, "epochs": 2, "lr_schedule": "step:2,0.5"}),
    ],
    ids=str,
)
def test_stopped_and_called_again_it_ends_with_the_same_bits(tmp_path, algorithm, flags):
    flags = {**{flag: value for flag, value in SMALL.items() if flag != "epochs"}, "rounds": 4, **flags}
    whole, pieces = (
        config.make({"algorithm": algorithm, **flags, "out_dir": tmp_path / name})
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


@BOTH
def test_a_schedule_counts_epochs(tmp_path, algorithm):
    """After the first epoch the rate is 1e-30 of what it was, so that nothing is learned any more."""
    loaded = run(tmp_path, algorithm, lr_schedule="step:1,1e-30", rounds=1, epochs=3)
    losses = loaded.arrays["metrics/test_loss"][:, 0]
    assert losses[0] == pytest.approx(losses[1]) == pytest.approx(losses[2])


@BOTH
def test_a_run_that_diverges_says_so(tmp_path, algorithm):
    assert run(tmp_path, algorithm, lr=1e20).attributes["status"] == "diverged"


@BOTH
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"participation": 0.5}, "participation 0.5: has no effect"),
        ({"failing_nodes": ("1@1",)}, "failing_nodes .*1@1.*: has no effect"),
        ({"drop_probability": 0.1}, "drop_probability 0.1: has no effect"),
        ({"prox_coeff": 0.1}, "prox_coeff 0.1: has no effect"),
        ({"engine": "batched"}, "engine batched: .* trains one model"),
        ({"init": "different"}, "init different: must be same"),
        ({"server": 1}, "server 1: has no effect"),
        ({"visits": "apart"}, "visits apart: has no effect in this experiment: take --algorithm traversal"),
        ({"mode": "grads"}, "mode grads: grads is not cut=half, or cut=K with K of at least 1"),
        ({"mode": "cut=0"}, "mode cut=0: cut=0 is not"),
        ({"orchestrator": "rotating"}, "orchestrator rotating: must be best, or a node: the server keeps"),
        ({"orchestrator": 5}, "orchestrator 5: the graph has the nodes 0 to 4"),
        (
            {"topology_file": "stochastic_block:blocks=2,size=3,p_in=1,p_out=0"},
            "messages to all nodes need a connected graph",
        ),
    ],
)
def test_wrong_calls_are_refused_before_anything_starts(tmp_path, algorithm, flags, told):
    with pytest.raises(InputError, match=told):
        make_plan(made(tmp_path, algorithm, **flags))
    assert not list(tmp_path.iterdir())


def test_splitfed_learning_has_no_place_for_labels_at_nodes(tmp_path):
    """The upper part changes with every batch, so that outputs of several batches do not exist at once."""
    with pytest.raises(InputError, match=r"labels at_node: has no effect.*traversal or split"):
        made(tmp_path, "splitfed", labels="at_node")


@BOTH
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"mode": "cut=2"}, "mode cut=2: mlp has the cuts cut=1$"),
        ({"topology_file": "cycle:n=2000"}, "has 2000 nodes for 1437 training samples"),
    ],
)
def test_a_cut_that_the_model_does_not_have_is_refused_before_the_first_round(
    tmp_path, algorithm, flags, told
):
    with pytest.raises(InputError, match=told):
        experiment.run(made(tmp_path, algorithm, **flags))
    assert not list(tmp_path.glob("*.h5"))
