"""Which part lies on which node (A5), and a class that the OOD nodes alone hold."""

import networkx as nx
import numpy as np
import pytest

from dml import config, experiment, results
from dml.data.config import DataConfig
from dml.data.load import Dataset
from dml.data.partition import budgets
from dml.data.placement import arranged, centrality, share_out
from dml.errors import InputError
from dml.topology import make

PARTS = [np.arange(k) for k in (5, 1, 9, 3, 7)]


def placed(topology, **flags):
    data = DataConfig(random_data_placement=False, **flags)
    return [len(part) for part in arranged(PARTS, make(topology), data)]


def plain(score, sizes, offset):
    """Nodes by centrality and parts by size, both ascending, the parts rotated, matched in order."""
    nodes = sorted(range(len(score)), key=lambda i: (score[i], i))
    parts = sorted(sizes)
    for _ in range(offset):
        parts = [parts[-1], *parts[:-1]]
    return [size for _, size in sorted(zip(nodes, parts, strict=True))]


def test_the_largest_part_is_on_the_node_of_highest_degree():
    assert placed("star:n=5") == [9, 1, 3, 5, 7]
    assert placed("star:n=5", offset_clients_data_placement=1) == [7, 9, 1, 3, 5]
    assert placed("star:n=5", offset_clients_data_placement=5) == placed("star:n=5")
    # The ends of a chain are less central; ties go by the lower index.
    assert placed("chain:n=5") == [1, 5, 7, 9, 3]


@pytest.mark.parametrize("metric", ["degree", "betweenness", "closeness", "harmonic", "pagerank"])
@pytest.mark.parametrize("offset", [0, 2])
def test_any_centrality_places_the_parts(metric, offset):
    topology = make("barabasi_albert:n=12,m=1,seed=1")
    of_networkx = {
        "degree": nx.degree_centrality,
        "betweenness": lambda g: nx.betweenness_centrality(g, endpoints=True),
        "closeness": nx.closeness_centrality,
        "harmonic": nx.harmonic_centrality,
        "pagerank": nx.pagerank,
    }[metric](nx.Graph(topology.edges.tolist()))
    score = [round(of_networkx[i], 9) for i in range(12)]
    assert (
        np.argsort(centrality(topology, metric).round(9), kind="stable").tolist()
        == np.argsort(score, kind="stable").tolist()
    )
    sizes = np.random.default_rng(0).permutation(12) + 1
    data = DataConfig(
        random_data_placement=False,
        centrality_metric_data_placement=metric,
        offset_clients_data_placement=offset,
    )
    parts = arranged([np.arange(k) for k in sizes], topology, data)
    assert [len(part) for part in parts] == plain(score, sizes, offset)


def test_at_random_the_parts_stay_as_they_were_drawn():
    assert arranged(PARTS, make("star:n=5"), DataConfig()) is PARTS


def dataset(train=200, labels=5):
    rng = np.random.default_rng(0)
    x = rng.random((train, 1, 8, 8), dtype=np.float32)
    return Dataset(x, rng.integers(labels, size=train), x[:20], rng.integers(labels, size=20), labels)


def test_a_held_out_class_is_on_the_ood_nodes_alone():
    data, topology = dataset(), make("cycle:n=6")
    flags = DataConfig(ood_kind="heldout_class", ood_class=3)
    parts = share_out(data, topology, flags, (1, 4), 0)
    everywhere = np.sort(np.concatenate(parts))
    assert np.array_equal(everywhere, np.arange(200))
    has = [int((data.train_y[part] == 3).sum()) for part in parts]
    total = int((data.train_y == 3).sum())
    assert sorted(has) == [0, 0, 0, 0, total // 2, total - total // 2]
    assert has[1] + has[4] == total
    # Without OOD nodes, the control, nobody has it; the other samples lie where they lay.
    control = share_out(data, topology, flags, (), 0)
    assert sum(map(len, control)) == 200 - total
    for with_it, without in zip(parts, control, strict=True):
        assert np.array_equal(with_it[data.train_y[with_it] != 3], without)


def test_every_node_gets_what_it_needs_at_least():
    shares = np.array([0.96, 0.01, 0.02, 0.01])
    assert budgets(shares, 100, 3).tolist() == [91, 3, 3, 3]
    assert budgets(shares, 12, 3).tolist() == [3, 3, 3, 3]
    parts = share_out(dataset(20), make("cycle:n=6"), DataConfig(sample_alpha=0.1), (), 0, least=3)
    assert min(map(len, parts)) == 3
    with pytest.raises(InputError, match="6 nodes for 17 training samples, and each needs 3"):
        share_out(dataset(17), make("cycle:n=6"), DataConfig(), (), 0, least=3)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"ood_kind": "heldout_class", "ood_class": 10}, "--ood_class 10: digits has the classes 0 to 9"),
        ({"ood_class": 3}, "--ood_class 3: nothing in this experiment reads it"),
        ({"ood_kind": "rotated", "random_bd": True}, "--random_bd: nothing"),
        (
            {"ood_kind": "heldout_class", "backdoor": True, "backdoor_proportion": 0.3},
            "--backdoor_proportion 0.3: nothing",
        ),
        ({"offset_clients_data_placement": 3}, "--offset_clients_data_placement 3: nothing"),
        ({"random_data_placement": False, "offset_clients_data_placement": -1}, "--offset_clients"),
        ({"random_data_placement": False, "centrality_metric_data_placement": "x"}, "--centrality_metric"),
        ({"ood_kind": "other"}, "--ood_kind other: must be 'trigger', 'heldout_class' or 'rotated'"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(flags, says):
    with pytest.raises(InputError, match=says):
        config.make(flags)


def test_the_published_switch_turns_the_placement_on(script, tmp_path):
    flags = ["--topology_file", "star:n=9", "--rounds", 1, "--epochs", 1, "--sample_alpha", 1]

    def samples(switch):
        done = script("decentralized_main.py", *flags, switch, "--out_dir", switch.strip("-"))
        assert done.returncode == 0, done.stderr
        return results.load(tmp_path / done.stdout.splitlines()[-1]).arrays["data/samples"]

    placed, drawn = samples("--non_random_data_placement"), samples("--random_data_placement")
    assert placed.argmax() == 0
    assert (np.diff(placed[1:]) >= 0).all()
    assert sorted(placed) == sorted(drawn)
    assert placed.tolist() != drawn.tolist()


@pytest.mark.parametrize("kind", ["trigger", "rotated", "heldout_class"])
def test_every_kind_runs_with_several_ood_nodes_and_has_a_floor(small, kind):
    flags = {"topology_file": "complete:n=4", "ood_kind": kind, "rounds": 4, "epochs": 5, "init": "same"}
    run = results.load(experiment.run(small(**flags, backdoor=True, backdoor_node_idx=(0, 2))))
    floor = results.load(experiment.run(small(**flags)))
    ood = run.arrays["data/ood_samples"]
    assert (ood > 0).tolist() == [True, False, True, False]
    assert (floor.arrays["data/ood_samples"] == 0).all()
    if kind == "trigger":
        assert (run.arrays["metrics/ood_asr"] != run.arrays["metrics/ood_acc"]).any()
        assert run.attributes["final_ood"] > floor.attributes["final_ood"]
    else:
        assert np.array_equal(run.arrays["metrics/ood_asr"], run.arrays["metrics/ood_acc"])
    if kind == "heldout_class":
        assert run.arrays["data/samples"].sum() == 1437
        assert run.arrays["data/label_counts"][[1, 3], 0].tolist() == [0, 0]
        assert ood.tolist() == run.arrays["data/label_counts"][:, 0].tolist()
        assert floor.attributes["final_ood"] == 0
        assert run.attributes["final_ood"] > 0.5
        assert run.arrays["metrics/per_class/support"][0, 0, 0] == 0
