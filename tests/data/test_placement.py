"""Which part lies on which node, and a class that only OOD nodes hold."""

import networkx as nx
import numpy as np
import pytest

from dml import config, experiment, results
from dml.data.config import DataConfig
from dml.data.dataset import NEXT_TOKEN, Dataset
from dml.data.partitions.budgets import budgets
from dml.data.placement import assign_samples, by_labels, by_size, placement_scores
from dml.errors import InputError
from dml.plan import make_plan
from dml.topology import Topology, make

PARTS = [np.arange(k) for k in (5, 1, 9, 3, 7)]


def placed(topology, **flags):
    data = DataConfig(random_data_placement=False, **flags)
    return [len(part) for part in by_size(PARTS, make(topology), data)]


def plain(score, sizes, offset):
    """Nodes by centrality and parts by size, both ascending, the parts rotated, matched in order."""
    nodes = sorted(range(len(score)), key=lambda i: (score[i], i))
    parts = sorted(sizes)
    for _ in range(offset):
        parts = [*parts[1:], parts[0]]
    return [size for _, size in sorted(zip(nodes, parts, strict=True))]


def test_the_largest_part_is_on_the_node_of_highest_degree():
    assert placed("star:n=5") == [9, 1, 3, 5, 7]
    # With an offset, the most central node gets the smallest part, the second smallest, and so on.
    assert placed("star:n=5", offset_clients_data_placement=1) == [1, 3, 5, 7, 9]
    assert placed("star:n=5", offset_clients_data_placement=2) == [3, 5, 7, 9, 1]
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
    found = placement_scores(topology, metric)
    scale = 11 if metric == "degree" else 1
    np.testing.assert_allclose(found, [scale * of_networkx[i] for i in range(12)], rtol=1e-12)
    score = found.round(9)
    sizes = np.random.default_rng(0).permutation(12) + 1
    data = DataConfig(
        random_data_placement=False,
        centrality_metric_data_placement=metric,
        offset_clients_data_placement=offset,
    )
    parts = by_size([np.arange(k) for k in sizes], topology, data)
    assert [len(part) for part in parts] == plain(score, sizes, offset)


def test_only_an_offset_has_another_version_than_before():
    def versions(**flags):
        return config.make(flags).versions()

    assert versions(random_data_placement=False) == versions()
    offset = versions(random_data_placement=False, offset_clients_data_placement=3)
    assert offset == versions() | {"placement with an offset": 2}


def test_only_a_placement_by_size_moves_the_parts():
    data, topology = dataset(), make("star:n=5")
    drawn = assign_samples(data, topology, DataConfig(sample_alpha=1), (), 0)
    placed_by_size = assign_samples(
        data, topology, DataConfig(sample_alpha=1, random_data_placement=False), (), 0
    )
    assert [len(part) for part in drawn] != [len(part) for part in placed_by_size]
    assert sorted(part.tolist() for part in drawn) == sorted(part.tolist() for part in placed_by_size)
    assert placed_by_size[0].size == max(part.size for part in drawn)


def dataset(train=200, labels=5):
    rng = np.random.default_rng(0)
    x = rng.random((train, 1, 8, 8), dtype=np.float32)
    return Dataset(x, rng.integers(labels, size=train), x[:20], rng.integers(labels, size=20), labels)


def test_a_held_out_class_is_on_the_ood_nodes_alone():
    data, topology = dataset(), make("cycle:n=6")
    flags = DataConfig(ood_kind="heldout_class", ood_class=3)
    parts = assign_samples(data, topology, flags, (1, 4), 0)
    everywhere = np.sort(np.concatenate(parts))
    assert np.array_equal(everywhere, np.arange(200))
    has = [int((data.train_y[part] == 3).sum()) for part in parts]
    total = int((data.train_y == 3).sum())
    assert sorted(has) == [0, 0, 0, 0, total // 2, total - total // 2]
    assert has[1] + has[4] == total
    # Without OOD nodes, the control, nobody has it; the other samples lie where they lay.
    control = assign_samples(data, topology, flags, (), 0)
    assert sum(map(len, control)) == 200 - total
    for with_it, without in zip(parts, control, strict=True):
        assert np.array_equal(with_it[data.train_y[with_it] != 3], without)


def test_every_node_gets_what_it_needs_at_least():
    shares = np.array([0.96, 0.01, 0.02, 0.01])
    assert budgets(shares, 100, 3).tolist() == [91, 3, 3, 3]
    assert budgets(shares, 12, 3).tolist() == [3, 3, 3, 3]
    parts = assign_samples(dataset(20), make("cycle:n=6"), DataConfig(sample_alpha=0.1), (), 0, least=3)
    assert min(map(len, parts)) == 3
    with pytest.raises(InputError, match="6 nodes for 17 training samples, and each needs 3"):
        assign_samples(dataset(17), make("cycle:n=6"), DataConfig(), (), 0, least=3)


@pytest.mark.parametrize("kind", ["trigger", "heldout_class"])
def test_equal_amounts(kind):
    data, topology = dataset(201), make("cycle:n=6")
    flags = DataConfig(partition="equal", label_alpha=0.1, ood_kind=kind, ood_class=3)
    parts = assign_samples(data, topology, flags, (), 0)
    clean = np.flatnonzero(data.train_y != 3) if kind == "heldout_class" else np.arange(201)
    assert np.array_equal(np.sort(np.concatenate(parts)), clean)
    assert np.ptp([len(part) for part in parts]) <= 1
    # The amounts that the other partition draws play no part.
    other = flags.model_copy(update={"sample_alpha": 0.1})
    assert all(map(np.array_equal, parts, assign_samples(data, topology, other, (), 0)))


def unlike(topology, counts):
    """Mean over the edges of the distance of the two ends' shares of labels (total variation)."""
    shares = counts / counts.sum(1, keepdims=True)
    return np.mean([np.abs(shares[i] - shares[j]).sum() / 2 for i, j in topology.edges])


@pytest.mark.parametrize("name", ["cycle:n=16", "torus:rows=4,cols=4", "barabasi_albert:n=20,m=2,seed=0"])
@pytest.mark.parametrize("way", ["budgets", "equal"])
def test_labels_are_placed_clustered_or_mixed(name, way):
    data, topology, found = dataset(2000, 10), make(name), {}
    for placement in ("drawn", "clustered", "mixed"):
        flags = DataConfig(partition=way, label_alpha=0.1, label_placement=placement)
        seeds = [assign_samples(data, topology, flags, (), seed) for seed in range(5)]
        found[placement] = np.mean(
            [
                unlike(topology, np.array([np.bincount(data.train_y[p], minlength=10) for p in parts]))
                for parts in seeds
            ]
        )
        # The same parts, elsewhere.
        drawn = assign_samples(data, topology, flags.model_copy(update={"label_placement": "drawn"}), (), 0)
        assert sorted(p.tolist() for p in drawn) == sorted(p.tolist() for p in seeds[0])
    assert found["clustered"] < 0.95 * found["drawn"]
    assert found["mixed"] > 1.02 * found["drawn"]


def test_labels_are_placed_by_hand():
    # A chain 0-1-2-3 and 4 by itself: node 1 begins with part 0, then 0 and 2, then 3, at last 4.
    counts = np.array([[9, 1], [1, 9], [8, 2], [2, 8], [5, 5]])
    topology = make("chain:n=4")
    assert by_labels(counts[:4], topology, alike=True).tolist() == [2, 0, 3, 1]
    assert by_labels(counts[:4], topology, alike=False).tolist() == [1, 0, 3, 2]
    parts = Topology(5, topology.edges, topology.weights, "four and one")
    assert by_labels(counts, parts, alike=True).tolist() == [2, 0, 4, 3, 1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"partition": "equal", "sample_alpha": 3}, "sample_alpha 3: has no effect in this experiment"),
        ({"partition": "even"}, "partition even: no such partition; choose one of: budgets, equal"),
        (
            {"partition": "equal", "random_data_placement": False},
            "no_random_data_placement: puts the largest part .* those of partition equal are all of one size",
        ),
        (
            {"label_placement": "mixed", "random_data_placement": False},
            "no_random_data_placement: puts the largest part .* leave one out",
        ),
        ({"ood_kind": "heldout_class", "ood_class": 10}, "ood_class 10: digits has the classes 0 to 9"),
        ({"ood_class": 3}, "ood_class 3: has no effect in this experiment"),
        ({"ood_kind": "rotated", "random_bd": True}, "random_bd: has no effect"),
        (
            {"ood_kind": "heldout_class", "backdoor": True, "backdoor_proportion": 0.3},
            "backdoor_proportion 0.3: has no effect",
        ),
        ({"offset_clients_data_placement": 3}, "offset_clients_data_placement 3: has no effect"),
        ({"random_data_placement": False, "offset_clients_data_placement": -1}, "offset_clients"),
        ({"random_data_placement": False, "centrality_metric_data_placement": "x"}, "centrality_metric"),
        ({"ood_kind": "other"}, "ood_kind other: must be 'trigger', 'heldout_class' or 'rotated'"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(flags, says):
    with pytest.raises(InputError, match=says):
        make_plan(config.make(flags))


def test_an_experiment_of_equal_amounts_has_an_id_of_its_own_and_runs(small):
    drawn = config.make({}).id_fields()
    new = config.make({"partition": "equal", "label_placement": "clustered"}).id_fields()
    assert new == {k: v for k, v in drawn.items() if k != "sample_alpha"} | {
        "partition": "equal", "label_placement": "clustered"
    }  # fmt: skip
    flags = {"partition": "equal", "label_alpha": 0.1, "backdoor": True, "train_test_val": (0.8, 0.2)}
    run = results.load(experiment.run(small(**flags, rounds=1)))
    assert np.ptp(run.arrays["data/samples"]) <= 4
    assert run.arrays["data/ood_samples"].sum() > 0


def test_sequences_of_tokens_are_dealt_out_in_equal_amounts_too():
    """By their coefficients."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(14, size=(100, 8)).astype(np.uint8), np.arange(100) % 5
    data = Dataset(x, y, x, y, 5, task=NEXT_TOKEN, trigger=lambda x: (np.ones(len(x), bool), x))
    flags = DataConfig(dataset="tiny_mem", partition="equal", label_alpha=0.01)
    parts = assign_samples(data, make("cycle:n=5"), flags, (), 0)
    assert [len(part) for part in parts] == [20] * 5
    assert np.mean([len(np.unique(y[part])) for part in parts]) < 3


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
