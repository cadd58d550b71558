"""Experiments under each algorithm: defaults, ids, what is refused, stop and resume, engines, traffic."""

import json
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from rules import THROUGH_SERVER
from stopping import StopAfter

from dml import config, experiment, results
from dml.algorithms.registry import ALGORITHMS
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.models.cost import size_of
from dml.models.registry import build_model
from dml.parallel.presets.relaysgd import LEARNING_RATES
from dml.plan import make_plan
from dml.results import checkpoint
from dml.results.run_text import run_text
from dml.topology import trees

Small = Callable[..., ExperimentConfig]

GRAPH = "barabasi_albert:n=6,m=2"
STEPS = {"topology_file": GRAPH, "rounds": 6, "local_steps": 2, "eval_every": 1}
# A model that D2 can be trusted with: all weights of a ring of six.
D2 = {"edge_weight": 0.2}
# Control variates are means of the gradients of plain SGD.
PLAIN_SGD = {"momentum": 0.0}
CONTROL_VARIATES = ("scaffold", "huscaffold", "hscaffold")


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """Experiments of less than a second on digits, which say themselves how a round trains."""

    def make(**flags: object) -> ExperimentConfig:
        fast = {"topology_file": "cycle:n=4", "rounds": 3, "threads": 1, "out_dir": tmp_path / "out"}
        return config.make({**fast, **flags})

    return make


def own_flags(name: str) -> dict[str, object]:
    return {"d2": D2, **dict.fromkeys(CONTROL_VARIATES, PLAIN_SGD)}.get(name, {})


def assert_it_ends_the_same_in_pieces(whole: Path, pieces: ExperimentConfig, stops: tuple[int, ...]) -> None:
    """Stopped after so many rounds, again and again: the same results, models and memory, bit for bit."""
    for rounds in stops:
        with pytest.raises(experiment.Stopped):
            experiment.run(pieces, stop=StopAfter(rounds))
    again = experiment.run(pieces)
    assert results.differences(whole, again) == []
    saved = [
        checkpoint.read(checkpoint.path_of(path), make_plan(pieces).identity.id) for path in (whole, again)
    ]
    assert np.array_equal(saved[0].X, saved[1].X)
    for key, value in saved[0].algorithm.items():
        assert np.array_equal(value, saved[1].algorithm[key], equal_nan=True), key


def test_the_field_algorithm_changes_no_old_id(small: Small):
    plain = make_plan(small())
    assert plain.identity.id == make_plan(small(algorithm="decentralized")).identity.id
    ids = {make_plan(small(algorithm=name, topology_file="chain:n=6")).identity.id for name in ALGORITHMS}
    assert len(ids) == len(ALGORITHMS)


def test_dpsgd_is_decentralized_with_other_defaults(small: Small, tmp_path: Path):
    short = small(algorithm="dpsgd", topology_file=GRAPH, momentum=0.9, rounds=4, out_dir=tmp_path / "a")
    long = small(
        topology_file=GRAPH,
        aggregation_strategy="metropolis_hastings",
        local_steps=1,
        keep_optimizer=True,
        init="same",
        momentum=0.9,
        rounds=4,
        out_dir=tmp_path / "b",
    )
    for flag, value in {"local_steps": 1, "keep_optimizer": True, "init": "same"}.items():
        assert short.flat()[flag] == value
    assert short.strategy.aggregation_strategy == "metropolis_hastings"
    one, other = (results.load(experiment.run(c)).arrays for c in (short, long))
    for name in ("metrics/test_loss", "communication/bytes_sent"):
        assert np.array_equal(one[name], other[name])


@pytest.mark.parametrize("loss_rule", ["hold_last", "self_weight"])
def test_under_loss_dpsgd_is_decentralized_by_metropolis_hastings(
    loss_rule: str, small: Small, tmp_path: Path
):
    """The weights are those of the whole graph, and the loss rule stands in for what does not arrive."""
    lossy = {"topology_file": GRAPH, "drop_probability": 0.3, "loss_rule": loss_rule, "momentum": 0.9}
    lossy |= {"rounds": 8, "eval_every": 1}
    dpsgd = small(**lossy, algorithm="dpsgd", out_dir=tmp_path / "dpsgd")
    stepping = {"local_steps": 1, "keep_optimizer": True, "init": "same", "lr": dpsgd.training.lr}
    by_strategy = small(
        **lossy, **stepping, aggregation_strategy="metropolis_hastings", out_dir=tmp_path / "strategy"
    )
    renormalised = small(
        **{**lossy, "loss_rule": "renormalise"},
        **stepping,
        aggregation_strategy="metropolis_hastings",
        out_dir=tmp_path / "renormalised",
    )
    one, other, third = (results.load(experiment.run(c)).arrays for c in (dpsgd, by_strategy, renormalised))
    for name in ("metrics/test_loss", "communication/bytes_sent"):
        assert np.array_equal(one[name], other[name])
    assert not np.array_equal(one["metrics/test_loss"], third["metrics/test_loss"])


def test_epochs_in_place_of_steps():
    flags = {"algorithm": "relaysgd", "topology_file": "chain:n=4"}
    stepping = config.make(flags)
    assert (stepping.training.local_steps, stepping.run.rounds, stepping.run.eval_every) == (1, 500, 10)
    passing = config.make({**flags, "epochs": 2})
    assert (passing.training.local_steps, passing.training.epochs) == (None, 2)
    assert (passing.run.rounds, passing.run.eval_every) == (10, "epoch")
    assert passing.training.init == "same"
    with pytest.raises(InputError, match="epochs 2: has no effect in this experiment"):
        config.make({**flags, "epochs": 2, "local_steps": 3})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"algorithm": "relay"}, "algorithm relay: no such algorithm"),
        (
            {"algorithm": "relaysgd", "aggregation_strategy": "degCent"},
            "aggregation_strategy degCent: has",
        ),
        ({"algorithm": "relaysgd", "participation": 0.5}, "participation 0.5: has no effect"),
        ({"algorithm": "relaysgd", "prox_coeff": 0.1}, "prox_coeff 0.1: has no effect"),
        ({"tree": "chain"}, "tree chain: has no effect"),
        ({"algorithm": "d2", "tree": "chain"}, "tree chain: has no effect"),
        ({"algorithm": "relaysgd", "tree_root": 1}, "tree_root 1: has no effect"),
        ({"algorithm": "relaysgd", "tree": "oak"}, "tree oak: no such tree"),
        ({"algorithm": "relaysgd", "loss_rule": "renormalise"}, "loss_rule renormalise: relaysgd knows"),
        ({"loss_rule": "x0"}, "loss_rule x0: decentralized knows"),
        ({"drop_probability": 1}, "drop_probability 1: must be below 1"),
        ({"drop_probability": -0.1}, "drop_probability -0.1: must be at least 0"),
        (
            {"algorithm": "relaysgd", "lr_correction": "yes"},
            "lr_correction yes: must be auto, off, or",
        ),
        ({"algorithm": "quasi_global_momentum", "optimizer": "adam"}, "optimizer adam: quasi_global"),
        ({"algorithm": "dpsgd", "keep_optimizer": True}, "keep_optimizer: has no effect"),
        ({"lr": 1e-45}, "lr 1e-45: must be 0 or at least 1e-30"),
        ({"local_steps": 0}, "local_steps 0: must be at least 1"),
        (
            {"algorithm": "quasi_global_momentum", "momentum": 0, "nesterov": False},
            "momentum 0.0: must be above 0 for quasi_global",
        ),
        ({"failing_nodes": ("2",)}, "failing_nodes 2: 2 is not of the form NODE@ROUND"),
        ({"failing_nodes": ("2@-1",)}, "failing_nodes 2@-1: 2@-1 is not of the form"),
        ({"failing_nodes": ("2@3", "2@4")}, "failing_nodes 2@3 2@4: node 2 fails twice"),
    ],
)
def test_flags_that_cannot_be_right(flags, message):
    with pytest.raises(InputError, match="^" + message):
        config.make(flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"algorithm": "d2", "topology_file": "cycle:n=4"}, "algorithm d2: d2 needs a least eigenvalue"),
        ({"algorithm": "relaysgd", "tree": "given", "topology_file": "cycle:n=4"}, "tree given"),
        (
            {"algorithm": "relaysgd", "topology_file": "erdos_renyi:n=9,p=0.05,seed=0"},
            "topology_file erdos_renyi",
        ),
        (
            {"algorithm": "relaysgd", "tree": "bfs", "tree_root": 9, "topology_file": "cycle:n=4"},
            "tree_root 9: is not a node",
        ),
        ({"failing_nodes": ("9@1",), "topology_file": "cycle:n=4"}, "failing_nodes 9@1: the graph has the"),
        (
            {"failing_nodes": ("0@1", "1@1", "2@1"), "topology_file": "cycle:n=4"},
            "failing_nodes 0@1 1@1 2@1: of 4 nodes at least two",
        ),
        (
            {"algorithm": "relaysgd", "failing_nodes": ("0@1", "2@5"), "topology_file": "cycle:n=5"},
            "failing_nodes 2@5: the remaining nodes cannot continue: topology_file",
        ),
        (
            {"algorithm": "relaysgd", "tree": "bfs", "tree_root": 1, "topology_file": "cycle:n=5"}
            | {"failing_nodes": ("1@5",)},
            "failing_nodes 1@5: the remaining nodes cannot continue: tree_root 1: is not one",
        ),
        (
            {"aggregation_strategy": "eigenvector", "failing_nodes": ("2@5",), "topology_file": "chain:n=5"},
            "failing_nodes 2@5: the remaining nodes cannot continue: aggregation_strategy eigenvector",
        ),
        (
            {"algorithm": "dpsgd", "aggregation_strategy": "degCent_sim", "softmax": True}
            | {"drop_probability": 0.1, "topology_file": "cycle:n=4"},
            "loss_rule hold_last: degCent_sim looks at models",
        ),
    ],
)
def test_graphs_that_an_algorithm_does_not_admit(flags, message, tmp_path):
    with pytest.raises(InputError, match="^" + message):
        make_plan(config.make({**flags, "out_dir": str(tmp_path)}))


@pytest.mark.parametrize(
    ("name", "drop"),
    [
        (name, drop)
        for name, entry in ALGORITHMS.items()
        for drop in ((0.0, 0.3) if entry.loss_rules else (0.0,))
    ],
)
def test_every_algorithm_resumes_bit_for_bit(name: str, drop: float, small: Small, tmp_path: Path):
    flags = {**STEPS, "algorithm": name, "momentum": 0.9, **own_flags(name)}
    flags |= {"drop_probability": drop} if drop else {}
    flags |= {"local_steps": 2, "keep_optimizer": True} if name == "decentralized" else {}
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    assert_it_ends_the_same_in_pieces(whole, small(**flags, out_dir=tmp_path / "pieces"), (1, 3))


@pytest.mark.parametrize(
    "name", ["dpsgd", "relaysgd", "d2", "quasi_global_momentum", "push_sum", "fedprox", *CONTROL_VARIATES]
)
def test_loop_and_batched_give_the_same_numbers_to_rounding(name: str, small: Small, tmp_path: Path):
    models = []
    for engine in ("loop", "batched"):
        chosen = small(
            **{**STEPS, "algorithm": name, "momentum": 0.9, **own_flags(name)},
            engine=engine,
            out_dir=tmp_path / engine,
        )
        path = experiment.run(chosen)
        models.append(checkpoint.read(checkpoint.path_of(path), make_plan(chosen).identity.id).X)
    np.testing.assert_allclose(*models, rtol=0, atol=1e-4)


def test_with_all_data_alike_and_no_loss_relaysgd_on_two_nodes_is_allreduce(small: Small, tmp_path: Path):
    # On a tree of diameter 1, relays bring every value without delay.
    flags = {"topology_file": "chain:n=2", "rounds": 5, "eval_every": 1}
    runs = [
        results.load(experiment.run(small(**flags, algorithm=name, out_dir=tmp_path / name)))
        for name in ("relaysgd", "allreduce")
    ]
    losses = [run.arrays["metrics/test_loss"] for run in runs]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_the_file_says_over_which_tree_and_with_which_factor(small: Small, tmp_path: Path):
    chosen = small(
        algorithm="relaysgd", topology_file="cycle:n=8", rounds=2, lr_correction="auto", out_dir=tmp_path
    )
    found = results.load(experiment.run(chosen))
    (tree,) = trees.choose(make_plan(chosen).topology)
    assert found.attributes["tree"] == tree.name
    assert found.attributes["lr_factor"] == pytest.approx(trees.kappa((tree,)))
    assert found.attributes["max_delay"] == tree.diameter() - 1 == 6
    # On a chain: the values of all within one hop after one round, and two after two.
    values = np.sort(found.arrays["metrics/relay_values"])
    np.testing.assert_array_equal(values, [[2, 2, *[3] * 6], [3, 3, 4, 4, *[5] * 4]])
    assert not found.arrays["metrics/relay_age"].any()
    assert "relaysgd" in run_text(found)
    assert tree.name.split(" from ")[0] in run_text(found)


def test_the_corrected_learning_rate_is_trained_with(small: Small, tmp_path: Path):
    flags = {"algorithm": "relaysgd", "topology_file": "chain:n=5", "rounds": 3}
    factor = trees.kappa(trees.choose(make_plan(small(**flags)).topology))
    auto = small(**flags, lr=0.01, lr_correction="auto", out_dir=tmp_path / "auto")
    by_hand = small(**flags, lr=0.01 * factor, lr_correction="off", out_dir=tmp_path / "hand")
    losses = [results.load(experiment.run(c)).arrays["metrics/test_loss"] for c in (auto, by_hand)]
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_bytes_are_those_of_the_messages_that_are_sent(drop: float, small: Small, tmp_path: Path):
    size = size_of(build_model("mlp", (64,), 10, {}))
    path = "chain:n=5"
    degree = np.array([1, 2, 2, 2, 1])
    expected = {
        "dpsgd": degree * size,
        "relaysgd": degree * (size + 1),
        "gradient_tracking": degree * 2 * size,
        "push_sum": degree * (size + 1),
        "allreduce": np.full(5, 4 * size),
        "one_peer_exponential": np.full(5, size),
    }
    for name, numbers in expected.items():
        chosen = small(
            algorithm=name, topology_file=path, rounds=2, drop_probability=drop, out_dir=tmp_path / name
        )
        arrays = results.load(experiment.run(chosen)).arrays
        assert np.array_equal(arrays["communication/bytes_sent"], np.tile(4 * numbers, (2, 1))), name
        on_edges = name not in ("allreduce", "one_peer_exponential")
        assert arrays["communication/edge_bytes"].sum() == (2 * 4 * numbers.sum() if on_edges else 0)


FAILING = ("3@2", "5@4")
WALKS = ("multi_walk", "random_walk")
"""Algorithms whose models belong to no node."""


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("decentralized", {"participation": 0.5}),
        ("decentralized", {"aggregation_strategy": "betCent_sim", "softmax": True}),
        ("decentralized", {"aggregation_strategy": "unweighted_fl", "prox_coeff": 0.1}),
        ("dpsgd", {"drop_probability": 0.3}),
        *((name, {}) for name in ALGORITHMS if name != "decentralized" and not ALGORITHMS[name].one_model),
        ("relaysgd", {"drop_probability": 0.3, "overlap": True}),
    ],
)
def test_experiments_with_failing_nodes_resume_bit_for_bit(name, more, small: Small, tmp_path: Path, caplog):
    caplog.set_level("INFO", "dml")
    flags = {**STEPS, "algorithm": name, "momentum": 0.9, "failing_nodes": FAILING, **own_flags(name), **more}
    flags |= {"keep_optimizer": True} if name == "decentralized" else {}
    if name == "d2":
        flags["edge_weight"] = 0.05
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    told = list(caplog.messages)
    # Stopped before the first failure, at it, and after it.
    assert_it_ends_the_same_in_pieces(whole, small(**flags, out_dir=tmp_path / "pieces"), (1, 1, 1))

    found = results.load(whole)
    sent, trained = found.arrays["communication/bytes_sent"], found.arrays["metrics/train_loss"]
    failures = json.loads(found.attributes["failures"])
    assert "failed in round 2: 3" in run_text(found)
    assert [(f["round"], f["nodes"]) for f in failures] == [(2, [3]), (4, [5])]
    assert all(("tree" in f) == ("tree" in found.attributes) for f in failures)
    go_on = "go on" if ALGORITHMS[name].events else "start again"
    assert any(f"round 2: node 3 fails; the other nodes {go_on}" in line for line in told)
    for node, last in ((3, 2), (5, 4)):
        # Walks pass through a node that has failed, and may not have come to it before.
        if name not in WALKS:
            assert not sent[last:, node].any()
            assert sent[:last, node].any() == (name not in THROUGH_SERVER)
        assert np.isnan(trained[last:, node]).all()
        losses = found.arrays["metrics/test_loss"][last:, node]
        assert np.array_equal(losses, np.full_like(losses, losses[0]), equal_nan=name in WALKS)
    if "participation" in more:
        np.testing.assert_array_equal(np.isfinite(trained).sum(1), [3, 3, 2, 2, 2, 2, 0])
    elif name not in WALKS:
        # Under pairwise, only nodes that others ask send a model.
        sends = np.any if name == "pairwise" else np.all
        assert sends(sent[-1, [0, 1, 2, 4]]) == (name not in THROUGH_SERVER)


def test_an_average_of_those_that_live_is_theirs_alone(small: Small, tmp_path: Path):
    """unweighted_fl of untrained models: the mean over all, then nothing but the failed node stays apart."""
    flags = {"aggregation_strategy": "unweighted_fl", "train": False, "rounds": 1, "init": "different"}
    chosen = small(**flags, failing_nodes=("1@0",), topology_file="chain:n=5")
    path = experiment.run(chosen)
    X = checkpoint.read(checkpoint.path_of(path), make_plan(chosen).identity.id).X
    left = [0, 2, 3, 4]
    np.testing.assert_array_equal(X[left], np.tile(X[0], (4, 1)))
    alone = small(**flags | {"aggregation_strategy": "test_agg"}, topology_file="chain:n=5", out_dir=tmp_path)
    start = checkpoint.read(checkpoint.path_of(experiment.run(alone)), make_plan(alone).identity.id).X
    np.testing.assert_allclose(X[0], start[left].mean(0), atol=1e-6)
    np.testing.assert_array_equal(X[1], start[1])


@pytest.mark.parametrize("strategy", ["degCent", "weighted", "betCent"])
def test_scores_are_those_of_the_graph_that_is_left(strategy: str, small: Small, tmp_path: Path):
    """One average of untrained models against networkx and numpy on the rest."""
    flags = {"train": False, "rounds": 1, "init": "different", "topology_file": "barabasi_albert:n=7,m=2"}
    chosen = small(**flags, aggregation_strategy=strategy, failing_nodes=("3@0",), out_dir=tmp_path / "a")
    alone = small(**flags, aggregation_strategy="test_agg", out_dir=tmp_path / "b")
    path = experiment.run(chosen)
    X, start = (
        checkpoint.read(checkpoint.path_of(p), make_plan(c).identity.id).X.astype(np.float64)
        for p, c in ((path, chosen), (experiment.run(alone), alone))
    )
    graph = make_plan(chosen).topology.graph()
    graph.remove_node(3)
    score = {
        "degCent": nx.degree_centrality(graph),
        "betCent": nx.betweenness_centrality(graph, endpoints=True),
        "weighted": dict(enumerate(results.load(path).arrays["data/samples"])),
    }[strategy]
    for i in graph:
        near = [i, *graph[i]]
        expected = sum(score[j] * start[j] for j in near) / sum(score[j] for j in near)
        np.testing.assert_allclose(X[i], expected, atol=1e-6)
    np.testing.assert_array_equal(X[3], start[3])


def test_the_proximal_term_draws_to_no_node_that_has_failed(small: Small, tmp_path: Path):
    """What is left of a chain of three are two nodes without neighbours."""
    flags = {
        "topology_file": "chain:n=3",
        "failing_nodes": ("1@1",),
        "rounds": 2,
        "epochs": 1,
        "engine": "loop",
    }
    flags |= {"aggregation_strategy": "test_agg", "optimizer": "sgd"}
    losses = [
        results.load(experiment.run(small(**flags, prox_coeff=mu, out_dir=tmp_path / str(mu))))
        for mu in (0.0, 0.5)
    ]
    plain, drawn = (found.arrays["metrics/train_loss"][:2, [0, 2]] for found in losses)
    assert (plain[0] != drawn[0]).all()
    # From equal models on they train alike.
    apart = small(**flags | {"failing_nodes": ("1@0",)}, prox_coeff=0.5, out_dir=tmp_path / "apart")
    alone = results.load(experiment.run(apart)).arrays["metrics/train_loss"][:2, [0, 2]]
    np.testing.assert_array_equal(alone, plain)


def test_a_failure_beyond_the_last_round_changes_no_number(small: Small, tmp_path: Path):
    plain = results.load(experiment.run(small(algorithm="relaysgd", out_dir=tmp_path / "a")))
    late = small(algorithm="relaysgd", failing_nodes=("1@99",), out_dir=tmp_path / "b")
    found = results.load(experiment.run(late))
    for name, array in plain.arrays.items():
        if not name.startswith("time/"):
            np.testing.assert_array_equal(found.arrays[name], array)
    assert found.attributes["failures"] == "[]"
    assert "failures" not in plain.attributes


def test_failing_nodes_are_in_an_id_in_one_order_and_only_where_there_are_some(small: Small):
    ids = [
        make_plan(small(**given)).identity.id
        for given in (
            {},
            {"failing_nodes": ()},
            {"failing_nodes": ("2@1", "1@0")},
            {"failing_nodes": ("01@0", "2@01")},
        )
    ]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert small(failing_nodes="2@1").algorithm.failing_nodes == ("2@1",)


@pytest.mark.slow
def test_uneven_labels_leave_the_worst_node_of_dpsgd_behind_that_of_relaysgd(small: Small, tmp_path: Path):
    """Table 2 of Vogels et al. (2021) on digits: the preset relaysgd's methods on its chain at alpha 0.01."""
    flags = {"topology_file": "chain:n=16", "partition": "equal", "label_alpha": 0.01, "local_steps": 1}
    flags |= {"momentum": 0.9, "nesterov": True, "rounds": 600, "eval_every": 600, "ood_test_proportion": 0.1}
    found = {}
    for name in ("dpsgd", "relaysgd"):
        _, (_, _, lr) = LEARNING_RATES[name, "chain:n=16"]
        run = results.load(experiment.run(small(**flags, algorithm=name, lr=lr, out_dir=tmp_path / name)))
        found[name] = run.attributes["worst_test"], run.arrays["communication/bytes_sent"].sum()
    (accuracy, sent), (relayed, sent_by_relays) = found["dpsgd"], found["relaysgd"]
    assert relayed - accuracy >= 0.05
    # A counter goes along with each of the 30 messages a round.
    assert sent_by_relays - sent == 600 * 30 * 4
