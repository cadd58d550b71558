"""What an experiment will be is known before it runs: its graph, its OOD nodes, its rows and its file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dml import experiment, results
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.plan import make_plan

Small = Callable[..., ExperimentConfig]


def test_ood_data_go_to_the_node_of_highest_degree_unless_nodes_are_named(small: Small) -> None:
    star = {"topology_file": "star:n=4", "backdoor": True}
    assert make_plan(small(**star)).config.data.backdoor_node_idx == (0,)
    assert make_plan(small(**star, backdoor_node_idx=(2, 1))).config.data.backdoor_node_idx == (1, 2)
    assert make_plan(small(topology_file="star:n=4")).config.data.backdoor_node_idx is None
    with pytest.raises(InputError, match="backdoor_node_idx 4: the graph has the nodes 0 to 3"):
        make_plan(small(**star, backdoor_node_idx=(4,)))


@pytest.mark.parametrize(
    "flags",
    [
        {"rounds": 3, "epochs": 2},
        {"rounds": 3, "local_steps": 2},
        {"rounds": 5, "eval_every": 2},
        {"rounds": 4, "eval_every": 2},
        {"rounds": 1, "eval_every": 10},
    ],
)
def test_it_knows_how_many_rows_the_file_will_have(
    small: Small, tmp_path: Path, flags: dict[str, object]
) -> None:
    """One more than its points: the row after the last aggregation."""
    from dml import config

    chosen = config.make({"topology_file": "cycle:n=4", "threads": 1, "out_dir": tmp_path, **flags})
    plan = make_plan(chosen)
    path = experiment.run(chosen)
    assert path == plan.result
    assert len(results.load(path).arrays["metrics/round"]) == plan.points + 1
    assert results.load(path).attributes["auc_points"] == plan.points


def test_a_graph_that_was_read_already_is_not_read_again(small: Small, tmp_path: Path) -> None:
    made = small(topology_file="chain:n=3")
    topology = make_plan(made).topology
    again = make_plan(small(topology_file=str(tmp_path / "not there.txt")), topology)
    assert again.topology is topology
    assert again.identity.id == make_plan(made).identity.id


def test_only_algorithms_over_trees_tell_of_one(small: Small) -> None:
    def facts(**flags: object) -> dict[str, str | int]:
        plan = make_plan(small(**flags))
        return plan.config.algorithm.options.facts(plan.topology, plan.config.run.seed)

    chain = {"topology_file": "chain:n=5", "epochs": 1}
    assert facts(**chain) == facts(**chain, algorithm="dpsgd") == {}
    assert facts(**chain, algorithm="relaysgd") == {"tree": "the graph itself", "max_delay": 3}
    two = facts(topology_file="cycle:n=6", algorithm="relaysgd", tree="two_chains")
    assert " and " in str(two["tree"])


def test_planning_writes_nothing(small: Small, tmp_path: Path) -> None:
    make_plan(small())
    assert list(tmp_path.iterdir()) == []
