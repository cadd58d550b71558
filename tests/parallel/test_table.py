"""Sweeps from a file: what is crossed, what is fixed, and what is refused before anything runs."""

from itertools import product
from pathlib import Path

import pytest
from scripts import Script

from dml.errors import InputError
from dml.parallel import expansion
from dml.parallel.flags import separated

GRAPH = "topology_file: 'barabasi_albert:n=8,m=2'"
OOD = "backdoor: true"


def _plans(folder: Path, text: str, **flags):
    path = folder / "mine.yaml"
    path.write_text(text)
    made, rest = separated({"sweep": str(path), **flags})
    return expansion.experiments(made, rest)


def _refused(folder: Path, text: str, **flags) -> str:
    with pytest.raises(InputError) as refusal:
        _plans(folder, text, **flags)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    return message


def test_lists_are_crossed_and_everything_else_is_fixed(tmp_path):
    plans = _plans(
        tmp_path,
        f"""
        {GRAPH}
        rounds: 3
        softmax: true
        seed: [0, 1]
        aggregation_strategy: [degCent, betCent]
        softmax_coeff: [1, 10.5]
        """,
    )
    found = [
        (p.config.run.seed, p.config.strategy.aggregation_strategy, p.config.strategy.options.softmax_coeff)
        for p in plans
    ]
    assert found == list(product([0, 1], ["degCent", "betCent"], [1, 10.5]))
    assert {(p.config.run.rounds, p.config.strategy.options.softmax) for p in plans} == {(3, True)}
    assert {p.result.parent for p in plans} == {Path("results/mine")}


def test_a_factor_that_a_strategy_does_not_read_makes_no_second_run_of_it(tmp_path):
    text = f"{GRAPH}\nsoftmax: true\naggregation_strategy: [weighted, degCent]\nsoftmax_coeff: [1, 2, 3]"
    names = [p.config.strategy.aggregation_strategy for p in _plans(tmp_path, text)]
    assert sorted(names) == ["degCent"] * 3 + ["weighted"]


def test_ood_data_by_rank_is_on_the_node_of_that_rank(tmp_path):
    plans = _plans(tmp_path, f"{GRAPH}\n{OOD}\nseed: [0, 1]\nood_rank: [4, 1]")
    for plan, rank in zip(plans, [4, 1, 4, 1], strict=True):
        assert plan.config.data.backdoor_node_idx == (plan.topology.most_connected(4)[rank - 1],)
    (fourth,) = _plans(tmp_path, f"{GRAPH}\n{OOD}\nood_rank: 4")
    assert fourth.identity == plans[0].identity


def test_ood_data_by_node_one_or_several_at_a_time(tmp_path):
    plans = _plans(tmp_path, f"{GRAPH}\n{OOD}\nbackdoor_node_idx: [3, [7, 2], 5]")
    assert [p.config.data.backdoor_node_idx for p in plans] == [(3,), (2, 7), (5,)]


def test_the_order_of_ranks_drops_nothing(tmp_path):
    """On a graph of 8 nodes there is no tenth; the complete graph takes the first that there is."""
    strategies = "aggregation_strategy: [unweighted_fl, unweighted]"
    for ranks in ("[10, 2, 1]", "[1, 10, 2]"):
        plans = _plans(tmp_path, f"{GRAPH}\n{OOD}\nood_rank: {ranks}\n{strategies}")
        names = [p.config.strategy.aggregation_strategy for p in plans]
        assert sorted(names) == ["unweighted", "unweighted", "unweighted_fl"]


@pytest.mark.parametrize("backdoor", ["true", "[true]", "yes", "[true, false]", "'on'"])
def test_a_control_is_added_to_whatever_has_ood_data(tmp_path, backdoor):
    text = f"{GRAPH}\nbackdoor: {backdoor}\nood_rank: [1, 2]\nseed: [0, 1]"
    plans = _plans(tmp_path, text, control=True)
    assert sorted(p.config.data.backdoor for p in plans) == [False] * 2 + [True] * 4


@pytest.mark.parametrize("backdoor", ["false", "'no'", "[off]"])
def test_a_control_of_nothing_is_refused(tmp_path, backdoor):
    message = _refused(tmp_path, f"{GRAPH}\nbackdoor: {backdoor}", control=True)
    assert message.startswith("control: no experiment")


def test_of_two_tables_with_one_experiment_the_more_rounds_hold(tmp_path):
    text = f"- {{{GRAPH}, rounds: 2, seed: [0, 1]}}\n- {{{GRAPH}, rounds: 4, seed: [1, 2]}}"
    plans = _plans(tmp_path, text)
    assert [(p.config.run.seed, p.config.run.rounds) for p in plans] == [(0, 2), (1, 4), (2, 4)]


def test_values_are_read_as_on_the_command_line(tmp_path):
    (plan,) = _plans(tmp_path, f"{GRAPH}\nlr: 1e-3\nseed: 010\nsoftmax: yes\naggregation_strategy: degCent")
    assert (plan.config.training.lr, plan.config.run.seed, plan.config.strategy.options.softmax) == (
        1e-3,
        10,
        True,
    )


def test_tables_may_share_their_keys(tmp_path):
    text = f"- &first {{{GRAPH}, lr: 0.1, seed: 1}}\n- {{<<: *first, lr: 0.2}}"
    assert [(p.config.training.lr, p.config.run.seed) for p in _plans(tmp_path, text)] == [(0.1, 1), (0.2, 1)]


def test_the_whole_file_is_checked_whatever_the_limit(tmp_path):
    assert "star:n=1" in _refused(tmp_path, "topology_file: ['star:n=4', 'star:n=1']", limit="1")
    assert len(_plans(tmp_path, f"{GRAPH}\nseed: [0, 1, 2]", limit="2")) == 2


def test_a_file_does_not_write_into_the_folder_of_a_preset():
    with pytest.raises(InputError, match="folder of the preset"):
        separated({"sweep": "elsewhere/digits.yaml"})
    assert separated({"sweep": "elsewhere/digits.yaml", "out_dir": "mine"})


def test_a_long_value_is_not_repeated_in_full(tmp_path):
    assert len(_refused(tmp_path, f"{GRAPH}\nlr: {'9' * 5000}x")) < 600


def test_a_list_of_tables_is_all_of_them_and_nothing_twice(tmp_path):
    text = f"""
    - {{{GRAPH}, aggregation_strategy: [unweighted, weighted]}}
    - {{{GRAPH}, aggregation_strategy: [weighted, test_agg], participation: 1}}
    """
    names = [p.config.strategy.aggregation_strategy for p in _plans(tmp_path, text)]
    assert names == ["unweighted", "weighted", "test_agg"]


def test_flags_of_the_command_line_take_the_place_of_keys(tmp_path):
    text = f"{GRAPH}\n{OOD}\nrounds: 3\nlr: [0.1, 0.2]\nseed: [0, 1]\nbackdoor_node_idx: 3"
    plans = _plans(tmp_path, text, lr="0.3", seeds=("7",), rounds="4", ood_ranks=("2",), control=True)
    assert [(p.config.training.lr, p.config.run.seed, p.config.run.rounds) for p in plans] == [
        (0.3, 7, 4)
    ] * 2
    assert [p.config.data.backdoor for p in plans] == [True, False]
    assert plans[0].config.data.backdoor_node_idx == (plans[0].topology.most_connected(2)[1],)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate: 1", "lerning_rate"),
        ("softmax_coef: 1", "did you mean softmax_coeff?"),
        ("seed: []", "empty list"),
        ("lr:", "needs a value"),
        ("lr: [0.1, null]", "lr null"),
        ("lr: [0.1, '']", "needs a value"),
        ("lr: true", "lr true"),
        ("rounds: yes", "rounds yes"),
        ("eval_every: yes", "eval_every yes"),
        ("seed: 1:30", "seed 1:30"),
        ("lr: 2020-13-45", "lr 2020-13-45"),
        ("lr: !!int foo", "is not a YAML file"),
        ("lr: !!bool maybe", "is not a YAML file"),
        ("lr: !!timestamp foo", "is not a YAML file"),
        ("aggregation_strategy: degCent\nscheduler: no", "no such schedule"),
        ("train_test_val: [0.8, 0.2]", "[[0.8, 0.2]]"),
        ("limit: 3", "give --limit in addition"),
        ("lr: {a: 1}", "needs a value"),
        ("lr: 0.1\nlr: 0.2", "lr: is given twice"),
        (f"{OOD}\nood_rank: 1\nbackdoor_node_idx: 3", "excludes backdoor_node_idx"),
        (f"{OOD}\nood_rank: 0", "from 1"),
        (f"{OOD}\nood_rank: [1, true]", "from 1"),
        (f"{OOD}\nood_rank: [9, 10]", "no more than 8 nodes"),
        ("ood_rank: 1", "has no effect in any experiment of this sweep"),
        ("softmax_coeff: [1, 2]", "has no effect in any experiment of this sweep"),
        ("rounds: [10, 20]", "one value and not a list"),
        ("out_dir: here", "give --out_dir in addition"),
        ("lr: [0.1, -1]", "lr -1"),
        ("lr: fast", "lr fast"),
        ("1: 2", "no such key"),
        ("", "keys and values"),
        ("[]", "keys and values"),
        ("just text", "keys and values"),
        ("- 3", "keys and values"),
        ("a: [1", "is not a YAML file"),
        ("lr: !!python/object/apply:os.system ['true']", "is not a YAML file"),
        ("? [a, b]\n: 3", "is not a YAML file"),
        ("dataset: nowhere", "no such data set"),
        ("aggregation_strategy: [unweighted, best]", "no such strategy"),
        ("topology_file: [star, 'star:n=1']", "star:n=1"),
        ("topology_file: [barabasi_albert:n=33,m=2]", "needs quotes"),
        ("\n".join(f"{k}: [{', '.join(map(str, range(1, 200)))}]" for k in ("seed", "epochs", "batch_size")),
         "too many"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name_and_key(tmp_path, text, words):
    table = text if "topology_file" in text or ":" not in text else f"{GRAPH}\n{text}"
    message = _refused(tmp_path, table)
    assert str(tmp_path / "mine.yaml") in message
    assert words in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00lr")
    for path, words in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "it is a folder"),
        (binary, "is not a YAML file"),
    ):
        made, rest = separated({"sweep": str(path)})
        with pytest.raises(InputError, match=words):
            expansion.experiments(made, rest)


def test_a_preset_and_a_file_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="excludes --sweep"):
        separated({"sweep": "mine.yaml", "preset": "digits"})


def test_a_mistake_on_the_command_line_is_not_blamed_on_the_file(tmp_path):
    message = _refused(tmp_path, f"{GRAPH}\nlr: 0.1", lr="-1")
    assert message.startswith("lr -1:")
    assert _refused(tmp_path, GRAPH, topologies=("star:n=1",)).startswith("topologies")


def test_a_key_that_only_a_replaced_strategy_reads_is_no_mistake(tmp_path):
    text = f"{GRAPH}\nsoftmax: true\nsoftmax_coeff: [1, 2]\naggregation_strategy: [degCent, weighted]"
    assert len(_plans(tmp_path, text, strategies=("weighted",))) == 1


def test_a_file_may_leave_the_data_set_to_the_command_line(tmp_path):
    text = f"{GRAPH}\nn_layer: 1\nmodel: decoder"
    assert "model decoder" in _refused(tmp_path, text)
    (plan,) = _plans(tmp_path, text, datasets=("tiny_mem",))
    assert plan.config.training.model_options.n_layer == 1


@pytest.mark.slow
def test_a_sweep_from_a_file_runs(process: Script, script: Script, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        f"{GRAPH}\n{OOD}\nrounds: 2\nepochs: 1\nsoftmax: true\naggregation_strategy: [unweighted, degCent]"
    )
    called = process("bd_scheduler.py", "--sweep", "mine.yaml", "--workers", 2)
    assert called.returncode == 0, called.stderr
    assert "degCent" in called.stdout
    assert len(list((tmp_path / "results" / "mine").glob("digits*.h5"))) == 2
    wrong = script("bd_scheduler.py", "--sweep", "mine.yaml", "--strategies", "best")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_values_that_no_case_holds_replace_those_of_all(tmp_path):
    plans = _plans(
        tmp_path,
        """
        - {topology_file: "chain:n=4", algorithm: dpsgd, lr: 0.1}
        - {topology_file: "chain:n=4", algorithm: relaysgd, lr: 0.2}
        """,
        topologies=("cycle:n=5",),
    )
    assert [(p.config.algorithm.algorithm, p.topology.n, p.config.training.lr) for p in plans] == [
        ("dpsgd", 5, 0.1),
        ("relaysgd", 5, 0.2),
    ]
