"""The configuration: defaults by data set, fields that nothing reads, and the form that files carry."""

import json

import pytest

from dml import config
from dml.algorithms.registry import ALGORITHMS
from dml.data.load import describe_dataset
from dml.errors import InputError
from dml.results.identity import identify
from dml.shown_defaults import shown_defaults
from dml.topology import make as make_graph


def test_the_data_set_and_the_optimiser_decide_defaults():
    digits = config.make({}).flat()
    assert (digits["lr"], digits["batch_size"], digits["epochs"], digits["model"]) == (0.05, 16, 5, "mlp")
    assert (digits["label_alpha"], digits["sample_alpha"], digits["ood_test_proportion"]) == (1000, 1000, 0.5)
    assert config.make({"optimizer": "adam"}).training.beta_2 == 0.999
    assert config.make({"optimizer": "adamw"}).training.beta_2 == 0.98
    assert config.make({"optimizer": "adamw", "beta_2": 0.9}).training.beta_2 == 0.9
    assert config.make({"optimizer": "adadelta"}).training.lr == 1
    assert config.make({"optimizer": "adadelta", "lr": 0.3}).training.lr == 0.3
    assert shown_defaults()["lr"].startswith("adadelta 1.0, digits 0.05, ")
    walks_and_gossip = "multi_walk or random_walk or async_gossip or pairwise 5"
    steps = " or ".join(name for name, entry in ALGORITHMS.items() if entry.defaults.get("local_steps") == 1)
    assert steps.startswith("allreduce or dpsgd or ")
    assert shown_defaults()["local_steps"] == f"{walks_and_gossip}, {steps} 1, else none"


@pytest.mark.parametrize(
    ("flags", "unread"),
    [
        ({"softmax": True}, "softmax"),
        ({"softmax": True, "aggregation_strategy": "weighted"}, "softmax"),
        ({"softmax_coeff": 3, "aggregation_strategy": "degCent"}, "softmax_coeff"),
        ({"self_weight": 0.5, "aggregation_strategy": "test_agg"}, "self_weight"),
        ({"scheduler": "CA"}, "scheduler"),
        ({"scheduler": "CA", "aggregation_strategy": "degCent"}, "scheduler"),
        ({"aggregation_strategy": "degCent", "softmax": True, "T_0": 5}, "T_0"),
        ({"aggregation_strategy": "degCent", "softmax": True, "scheduler": "exp", "T_0": 5}, "T_0"),
        ({"aggregation_strategy": "degCent", "softmax": True, "scheduler": "CA", "gamma": 0.9}, "gamma"),
        ({"aggregation_strategy": "degCent", "softmax": True, "scheduler": "osc", "T_mult": 2}, "T_mult"),
        ({"aggregation_strategy": "degCent", "softmax": True, "scheduler": "osc", "eta_min": 2}, "eta_min"),
        ({"backdoor_node_idx": (1,)}, "backdoor_node_idx"),
        ({"backdoor_proportion": 0.2}, "backdoor_proportion"),
        ({"beta_1": 0.5}, "beta_1"),
        ({"optimizer": "adam", "momentum": 0.5}, "momentum"),
        ({"optimizer": "adadelta", "beta_1": 0.5}, "beta_1"),
        ({"train": False, "lr": 0.1}, "lr"),
        ({"train": False, "lr_schedule": "warmup:3"}, "lr_schedule"),
        ({"n_layer": 2}, "n_layer"),
    ],
)
def test_a_field_that_nothing_reads_is_refused_when_it_was_given(flags, unread):
    with pytest.raises(InputError) as refusal:
        config.make(flags)
    assert refusal.value.field == unread
    # A sweep gives its flags to those experiments that read them; the others keep their defaults.
    assert unread not in config.make(flags, drop_unread=True).reads()


def test_what_is_read_is_accepted():
    flags = {"aggregation_strategy": "degCent", "softmax": True, "softmax_coeff": 3.0, "backdoor": True}
    made = config.make({**flags, "backdoor_node_idx": (2, 1), "momentum": 0.9, "nesterov": True})
    assert made.strategy.options.softmax_coeff == 3.0
    assert made.data.backdoor_node_idx == (1, 2)


def test_every_field_has_a_description_and_belongs_to_one_section():
    flags = [flag for _, flag, _ in config.fields()]
    assert len(flags) == len(set(flags))
    assert all(info.description for _, _, info in config.fields())


def test_the_flat_form_survives_json():
    made = config.make({"eval_every": 3, "backdoor": True, "backdoor_node_idx": (0, 5), "out_dir": "a/b"})
    assert config.from_flat(json.loads(json.dumps(made.flat()))) == made


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("rounds", 0), ("rounds", "x"), ("label_alpha", 0), ("sample_alpha", -1), ("ood_test_proportion", 1),
        ("lr", "nan"), ("lr", "inf"), ("participation", 0), ("participation", 1.1), ("dataset", "nosuch"),
        ("model", "nosuch"), ("optimizer", "nosuch"), ("aggregation_strategy", "nosuch"), ("eval_every", 0),
        ("eval_every", "round"), ("init", "zero"), ("seed", -1), ("threads", 0), ("checkpoint_minutes", 0),
        ("batch_size", 0), ("nosuchflag", 1), ("scheduler", "cosine"), ("gamma", 0), ("gamma", 1.1),
        ("gamma", "x"), ("eta_min", "inf"), ("T_0", 0), ("T_0", 2.5), ("T_mult", 0), ("T_mult", "1.5"),
        ("self_weight", 0), ("self_weight", 1), ("self_weight", "nan"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_right_is_refused_by_flag_and_value(flag, value):
    with pytest.raises(InputError) as refusal:
        config.make({flag: value})
    assert (refusal.value.field, str(refusal.value.value)) == (flag, str(value))
    assert "http" not in str(refusal.value)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(InputError, match="nesterov: needs --momentum"):
        config.make({"nesterov": True})


@pytest.mark.parametrize("name", ["degCent_sim", "betCent_sim"])
def test_a_strategy_by_similarity_always_takes_the_softmax(name):
    with pytest.raises(InputError, match=r"^no_softmax: must be on"):
        config.make({"aggregation_strategy": name, "softmax": False})
    made = config.make({"aggregation_strategy": name})
    assert made == config.make({"aggregation_strategy": name, "softmax": True})
    assert {"softmax", "softmax_coeff"} <= made.reads()


def test_a_field_added_later_changes_no_id_while_it_holds_the_old_numbers(monkeypatch: pytest.MonkeyPatch):
    before = config.make({}).id_fields()
    monkeypatch.setitem(config.LATER, "participation", 1.0)
    assert set(before) - set(config.make({}).id_fields()) == {"participation"}
    assert config.make({"participation": 0.5}).id_fields()["participation"] == 0.5


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ({"backdoor_node_idx": (1,)}, "add --backdoor, or leave it out"),
        ({"softmax_coeff": 3, "aggregation_strategy": "degCent"}, "add --softmax, or leave it out"),
        ({"optimizer": "adam", "momentum": 0.5}, "experiment: leave it out"),
    ],
)
def test_the_refusal_of_an_unread_field_says_what_would_have_it_read(flags, remedy):
    with pytest.raises(InputError, match=remedy):
        config.make(flags)


def id_of(flags, graph):
    made = config.make(flags)
    return identify(made, graph, describe_dataset(made.data)).id


@pytest.mark.parametrize(
    "flags",
    [
        {"n_layer": 2},
        {"num_example": 70},
        {"num_test": 3},
        {"trigger": 7},
        {"task_type": "sum"},
        {"length": 4},
    ],
    ids=str,
)
def test_the_fields_of_tiny_mem_are_in_the_id_of_its_experiments(flags):
    base = {"dataset": "tiny_mem", "num_example": 60, "topology_file": "cycle:n=4"}
    graph = make_graph("cycle:n=4")
    assert id_of({**base, **flags}, graph) != id_of(base, graph)
    assert id_of({**base, "num_test": 12}, graph) == id_of(base, graph)


@pytest.mark.parametrize("momentum", ["0", 0.0])
def test_a_flag_that_was_not_given_is_not_blamed(momentum):
    with pytest.raises(InputError, match=r"^momentum 0.*: must be above 0 for quasi_global_momentum$"):
        config.make({"algorithm": "quasi_global_momentum", "momentum": momentum})
    with pytest.raises(InputError, match="nesterov: needs --momentum above 0"):
        config.make({"algorithm": "dpsgd", "nesterov": True})
