"""The experiments that a sweep stands for."""

import pytest

from dml.errors import InputError
from dml.parallel import expansion
from dml.parallel.flags import separated
from dml.parallel.presets.sweeps import SWEEPS


def _plans(*, flags: dict | None = None, **own):
    made, rest = separated({**own, **(flags or {})})
    return expansion.experiments(made, rest)


def test_the_default_is_the_papers_matrix_on_digits():
    plans = _plans()
    # 3 seeds x 12 topologies x (5 strategies x 4 OOD nodes + FL once)
    assert len(plans) == 756
    assert SWEEPS["digits"].about.endswith("756 experiments")
    assert len({plan.identity.id for plan in plans}) == 756
    assert len({plan.result for plan in plans}) == 756
    for plan in plans:
        nodes = plan.config.data.backdoor_node_idx
        assert nodes is not None
        assert nodes[0] in plan.topology.most_connected(4)
        softmax = plan.config.strategy.aggregation_strategy in ("random", "degCent", "betCent")
        assert plan.config.flat().get("softmax", False) == softmax
    first = [p for p in plans if p.config.strategy.aggregation_strategy == "unweighted_fl"]
    assert len(first) == 36
    assert all(p.config.data.backdoor_node_idx == tuple(p.topology.most_connected(1)) for p in first)


@pytest.mark.slow
def test_the_paper_is_its_matrix_on_its_own_data_sets():
    plans = _plans(preset="paper")
    assert len(plans) == 3780
    assert SWEEPS["paper"].about.endswith("3,780 experiments")
    by_dataset = {p.config.data.dataset: p.config for p in plans}
    assert set(by_dataset) == {"mnist", "fmnist", "tiny_mem", "cifar10", "cifar100"}
    # arXiv 2505.11760: 5 epochs, batch 64, alphas 1000; SGD 0.01, Adam 0.001 for TinyMem and 1e-4 for CIFAR.
    for name, rate in {
        "mnist": 0.01,
        "fmnist": 0.01,
        "tiny_mem": 0.001,
        "cifar10": 1e-4,
        "cifar100": 1e-4,
    }.items():
        training, data = by_dataset[name].training, by_dataset[name].data
        assert (training.epochs, training.batch_size, training.lr) == (5, 64, rate)
        assert training.optimizer == ("sgd" if "mnist" in name else "adam")
        assert (data.partition_options.label_alpha, data.partition_options.sample_alpha) == (1000, 1000)
    assert (by_dataset["cifar10"].training.model, by_dataset["mnist"].training.model) == (
        "vgg16",
        "mnist_mlp",
    )
    assert by_dataset["tiny_mem"].data.dataset_options.num_example == 33000


def test_quickstart_is_18_experiments_of_which_all_have_33_nodes():
    plans = _plans(preset="quickstart")
    assert len(plans) == 18
    assert {plan.topology.n for plan in plans} == {33}


def test_factors_can_be_replaced_and_the_control_added():
    plans = _plans(
        preset="quickstart",
        seeds=("3", "4"),
        topologies=("cycle:n=8",),
        strategies=("degCent",),
        control=True,
    )
    assert [(p.config.run.seed, p.config.data.backdoor) for p in plans] == [
        (3, True), (3, False), (4, True), (4, False),
    ]  # fmt: skip


def test_a_flag_goes_to_the_experiments_that_read_it():
    plans = _plans(preset="quickstart", flags={"softmax_coeff": "20", "lr": "0.1"})
    by_strategy = {p.config.strategy.aggregation_strategy: p.config for p in plans}
    assert by_strategy["degCent"].strategy.options.softmax_coeff == 20
    assert "softmax_coeff" not in by_strategy["weighted"].reads()
    assert all(config.training.lr == 0.1 for config in by_strategy.values())
    with pytest.raises(InputError, match="has no effect in any experiment of this sweep"):
        _plans(preset="quickstart", strategies=("weighted",), flags={"softmax_coeff": "20"})


def test_the_same_graph_twice_is_run_once():
    graph = "barabasi_albert:n=8,m=2"
    assert (
        len(_plans(preset="quickstart", topologies=(graph, f"{graph},seed=0"), strategies=("degCent",))) == 1
    )


def _algorithms(plans) -> list[str]:
    return sorted(plan.config.algorithm.algorithm for plan in plans)


def test_the_ceiling_is_three_references_on_the_data_of_each_combination_from_one_start():
    plans = _plans(preset="quickstart", ceiling=True, ood_ranks=("1", "2"))
    places = {(plan.topology.label, plan.config.data.backdoor_node_idx) for plan in plans}
    assert len(places) == 6
    references = [plan for plan in plans if plan.config.algorithm.algorithm != "decentralized"]
    assert {
        (plan.config.algorithm.algorithm, plan.topology.label, plan.config.data.backdoor_node_idx)
        for plan in references
    } == {(name, *place) for name in ("centralized", "traversal", "fedavg") for place in places}
    assert len(references) == 3 * len(places)
    assert {plan.config.training.init for plan in plans} == {"same"}
    without = _plans(preset="quickstart", ood_ranks=("1", "2"))
    assert len(plans) == len(without) + len(references)
    assert {plan.config.training.init for plan in without} == {"different"}


def test_a_ceiling_does_not_cross_what_only_strategies_read():
    flags = {"softmax_coeff": "20", "aggregation_order": "in_place"}
    plans = _plans(
        preset="quickstart", ceiling=True, topologies=("cycle:n=4",), strategies=("degCent",), flags=flags
    )
    assert _algorithms(plans) == ["centralized", "decentralized", "fedavg", "traversal"]


def test_the_options_of_references_are_flags_of_a_sweep_with_them():
    own = {"preset": "quickstart", "topologies": ("cycle:n=4",), "strategies": ("unweighted",)}
    plans = _plans(**own, ceiling=True, flags={"mode": "cut=1"})
    assert [
        p.config.algorithm.options.mode for p in plans if p.config.algorithm.algorithm == "traversal"
    ] == ["cut=1"]
    with pytest.raises(InputError, match="has no effect in any experiment of this sweep"):
        _plans(**own, flags={"mode": "cut=1"})


def test_a_reference_that_a_graph_does_not_admit_is_left_out_there():
    graphs = ("cycle:n=4", "nx.empty_graph:n=5")
    plans = _plans(preset="quickstart", ceiling=True, topologies=graphs, strategies=("unweighted",))
    assert _algorithms(p for p in plans if p.topology.n == 5) == ["centralized", "decentralized", "fedavg"]
    with pytest.raises(InputError, match="connected"):
        _plans(preset="quickstart", ceiling=True, topologies=graphs, algorithms=("traversal",))
    with pytest.raises(InputError, match="orchestrator 7: the graph has the nodes 0 to 3"):
        _plans(preset="quickstart", ceiling=True, topologies=graphs, flags={"orchestrator": "7"})


def test_the_ceiling_has_the_controls_and_the_rounds_of_synchronous_algorithms():
    plans = _plans(preset="ood_asynchronous", ceiling=True, control=True, seeds=("0",), ood_ranks=("1",))
    references = [p for p in plans if p.config.algorithm.algorithm in ("centralized", "traversal", "fedavg")]
    assert len(references) == 3 * 2 * 2
    assert {plan.config.run.rounds for plan in references} == {80}
    assert sum(plan.config.data.backdoor for plan in references) == 6


def test_a_ceiling_that_could_not_be_compared_is_refused(tmp_path):
    with pytest.raises(InputError, match="init different: excludes --ceiling"):
        _plans(preset="quickstart", ceiling=True, flags={"init": "different"})
    with pytest.raises(InputError, match=r"ceiling.*no experiment of this sweep has rounds"):
        _plans(preset="quickstart", ceiling=True, algorithms=("async_gossip",))
    (tmp_path / "mine.yaml").write_text("topology_file: cycle:n=4\ninit: [same, different]\n")
    with pytest.raises(InputError, match=r"mine.yaml: init same different: excludes --ceiling"):
        _plans(sweep=str(tmp_path / "mine.yaml"), ceiling=True)
