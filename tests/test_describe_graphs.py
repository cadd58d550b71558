"""describe_topology.py, and the facts that it prints."""

import json

import pytest

from dml.describe_graphs import DescribeConfig, facts
from dml.errors import InputError


def test_models_are_followed_under_each_strategy_for_so_many_rounds():
    config = DescribeConfig(
        graphs=("chain:n=3", "star:n=4"), source=(0,), strategies=("unweighted", "weighted"), rounds=2
    )
    for entry, n in zip(facts(config), (3, 4), strict=True):
        assert set(entry["forecast"]) == {"unweighted", "weighted"}
        for shares in entry["forecast"].values():
            assert [len(share) for share in shares] == [n] * 3
            assert shares[0] == [1.0] + [0.0] * (n - 1)
    assert "forecast" not in facts(DescribeConfig(graphs=("chain:n=3",)))[0]


def test_pairs_that_exchange_models_without_an_edge_are_listed():
    ring, whole = facts(DescribeConfig(graphs=("cycle:n=5", "complete:n=4")))
    between = [[0, 2], [0, 3], [1, 3], [1, 4], [2, 4]]
    names = ["allreduce", "one_peer_exponential", "unweighted_fl"]
    # At distances 1, 2 and 4: on five nodes in a ring, these are all pairs.
    assert ring["connections"] == {name: {"number": 5, "pairs": between} for name in names}
    assert whole["connections"] == {name: {"number": 0, "pairs": []} for name in names}


def test_a_strategy_that_looks_at_models_has_no_forecast():
    with pytest.raises(InputError, match="looks at the models"):
        facts(
            DescribeConfig(graphs=("chain:n=3",), source=(0,), strategies=("degCent_sim",), softmax_coeff=2)
        )


def test_the_script_prints_a_table_or_json(script):
    out = script(
        "describe_topology.py",
        "cycle:n=8",
        "star:n=5",
        "--source",
        0,
        "--strategies",
        "degCent",
        "--rounds",
        3,
    )
    assert out.returncode == 0, out.stderr
    ring, star = out.stdout.split("\n\n")
    assert ring.startswith("cycle:n=8\n")
    assert max(map(len, out.stdout.splitlines())) <= 80
    assert "not d2" in ring
    assert "not multi_walk" not in ring
    assert all(name in ring for name in ("multi_walk", "random_walk", "async_gossip", "pairwise"))
    assert "degrees               2 to 2\n" in ring
    assert "diameter              4 hops\n" in ring
    assert "a walk's gap          0 (mh)\n" in ring
    assert "to node 0: mean 8, mean square 176\n" in ring
    assert "1.92, 3 rounds" not in ring
    assert "\n  one_peer_exponential  connects without an edge: 12 (0-2, 0-4, 0-6, ...)\n" in ring
    assert "\n  allreduce             connects without an edge: 6 (1-2, 1-3, 1-4, ...)\n" in star
    assert "the graph itself" in star
    assert "degCent" in star
    assert "after 3 rounds" in star
    out = script("describe_topology.py", "cycle:n=8", "--edge_weight", 0.3, "--json")
    (found,) = json.loads(out.stdout)
    assert found["refused"]["d2"] is None
    assert found["lambda_min"] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "FILE|GENERATOR: name at least one"),
        (["nowhere.txt"], "--topology_file nowhere.txt"),
        (["cycle:n=8", "--tree", "oak"], "--tree oak: no such tree"),
        (["cycle:n=8", "--edge_weight", "0.6"], "--edge_weight 0.6: must be above 0"),
        (["cycle:n=8", "--decay", "1"], "--decay 1.0: must be at least 0 and below 1"),
        (["cycle:n=8", "--source", "8"], "--source 8: is not a node"),
        (["cycle:n=8", "--rounds", "5"], "--rounds 5: has no effect: add --source"),
        (["cycle:n=8", "--tree_root", "5"], "--tree_root 5: has no effect: add --tree bfs"),
        (["cycle:n=8", "--transition", "lazy:2"], "--transition lazy:2: the P of lazy:P must be"),
        (["cycle:n=8", "--transition", "none.npy"], "--transition none.npy: no such file"),
        (["cycle:n=8", "--mixing_node", "8"], "--mixing_node 8: the graph has the nodes 0 to 7, and no 8"),
        (["cycle:n=8", "--seed", "-1"], "--seed -1: must be at least 0"),
    ],
)
def test_wrong_input_is_refused_by_name(script, words, message):
    out = script("describe_topology.py", *words)
    assert out.returncode == 2
    assert out.stderr.startswith(f"error: {message}"), out.stderr
