"""Calls that cannot be right get one line, which names the flag and what would be right."""

import pytest

from dml import config
from dml.algorithms.build import build
from dml.algorithms.registry import ALGORITHMS
from dml.errors import InputError
from dml.plan import make_plan
from dml.topology import make


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"out_dir": ""}, "out_dir : must be a path"),
        ({"data_dir": ""}, "data_dir : must be a path"),
        ({"dataset": ""}, "dataset : no such data set"),
        ({"prox_coeff": 1e39}, "prox_coeff 1e[+]39: must be at most"),
        ({"label_alpha": 1e-320}, "label_alpha 1e-320: must be at least"),
        ({"dataset": "tiny_mem", "n_layer": 99999}, "n_layer 99999: must be at most 1000"),
        ({"dataset": "tiny_mem", "max_ctx": 3}, "max_ctx 3: must be at least 41"),
        ({"dataset": "tiny_mem", "length": 400}, "length 400: that many numbers have at least 801 tokens"),
        ({"drop_probability": 0.1, "loss_rule": "gossip"}, "loss_rule gossip: decentralized knows"),
    ],
)
def test_values_that_cannot_be_right(flags, told):
    with pytest.raises(InputError, match=told):
        config.make(flags)


def test_a_home_that_is_not_there_stays_a_folder_name(tmp_path, monkeypatch):
    """~ without a home folder is a name like any other."""
    monkeypatch.chdir(tmp_path)
    made = make_plan(config.make({"out_dir": "~nobody-of-this-name/out"}))
    assert made.result.parent.parts[-2:] == ("~nobody-of-this-name", "out")


def test_an_algorithm_that_needs_a_strategy_runs_in_experiments_alone():
    import torch

    with pytest.raises(InputError, match=r"algorithm decentralized: .* only in an experiment"):
        build("decentralized", make("cycle:n=4"), torch.zeros(4, 3))


def test_what_remains_of_a_graph_is_named_by_what_is_gone():
    flags = {"algorithm": "relaysgd", "tree": "two_chains", "topology_file": "cycle:n=4"}
    with pytest.raises(InputError, match="must be a ring, and cycle:n=4 without 1 is not"):
        make_plan(config.make({**flags, "failing_nodes": ("1@1",)}))


@pytest.mark.parametrize("name", [name for name, entry in ALGORITHMS.items() if entry.loss_rules])
def test_the_default_loss_rule_is_the_same_experiment_whether_or_not_it_is_spelled_out(name, tmp_path):
    flags = {"algorithm": name, "drop_probability": 0.3, "topology_file": "cycle:n=5", "out_dir": tmp_path}
    flags |= {"edge_weight": 0.2} if name == "d2" else {}
    default, *others = ALGORITHMS[name].loss_rules

    def id_of(**more):
        return make_plan(config.make({**flags, **more})).identity.id

    assert id_of(loss_rule=default) == id_of()
    assert all(id_of(loss_rule=rule) != id_of() for rule in others)


def test_no_two_sections_have_a_flag_of_one_name():
    """An option would silently get the value that was meant for the other."""
    owner: dict[str, str] = {}
    for section, flag, _ in config.fields():
        assert owner.setdefault(flag, section) == section, flag
