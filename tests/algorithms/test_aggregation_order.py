"""Nodes that replace their models one after another, compared with plain loops, on both engines."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from stopping import StopAfter

from dml import experiment, randomness, results
from dml.algorithms.reference import neighbourhood_means, turns_by_readiness
from dml.assembly import assemble
from dml.coefficients.config import StrategyConfig
from dml.coefficients.of_rounds import StrategyCoefficients
from dml.coefficients.order import order_of_turns
from dml.coefficients.similarity import cosine_similarity
from dml.config import ExperimentConfig, make
from dml.errors import InputError
from dml.exchange.in_memory import InMemory
from dml.exchange.links import over_edges
from dml.execution.execution import drive
from dml.plan import make_plan
from dml.topology import Topology
from dml.topology import make as make_topology

Small = Callable[..., ExperimentConfig]

ORDERS = ("in_place", "in_place_by_readiness")
GRAPH = "barabasi_albert:n=9,m=2,seed=1"


def rounds_of(config: ExperimentConfig, count: int):
    """For each round: the models before the training, after it, and after the aggregation; who takes part."""
    config.run.out_dir.mkdir(exist_ok=True)
    parts = assemble(make_plan(config), None)
    models = parts.population.X[:, : parts.population.size]
    for t in range(count):
        before, trained = models.numpy().copy(), []

        def keep(_: object, trained: list[np.ndarray] = trained) -> None:
            trained.append(models.numpy().copy())

        drive(parts.execution.advance(t, keep), parts.engine.train)
        yield before, trained[-1], models.numpy().copy(), parts.execution.taking_part(t)  # type: ignore[attr-defined]


def tensors_of(config: ExperimentConfig):
    config.run.out_dir.mkdir(exist_ok=True)
    return assemble(make_plan(config), None).population.tensors


def plain_turns(order: str, seed: int, t: int, near: list[list[int]], taking_part, arrived) -> list[int]:
    """The order of the nodes, without the program's own."""
    if order == "in_place":
        return np.flatnonzero(taking_part).tolist()
    trained = [randomness.uniforms(seed, "end of local training", t, i, i)[0] for i in range(len(near))]
    return turns_by_readiness(np.where(taking_part, trained, 0.0), near, taking_part, arrived)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("participation", [1.0, 0.6])
@pytest.mark.parametrize("strategy", ["unweighted", "unweighted_fl", "degCent"])
def test_each_node_averages_what_the_nodes_before_it_have_already_replaced(
    small: Small, order: str, engine: str, participation: float, strategy: str
) -> None:
    softmax = {"softmax": True} if strategy == "degCent" else {}
    config = small(
        topology_file=GRAPH, aggregation_strategy=strategy, aggregation_order=order, engine=engine,
        participation=participation, drop_probability=0.3, seed=2, **softmax,
    )  # fmt: skip
    graph = make_topology(GRAPH)
    near = [sorted(graph.graph()[i]) for i in range(9)]
    scores = np.exp(10 * graph.degree / 8) if softmax else np.ones(9)
    if strategy == "unweighted_fl":
        near = [[j for j in range(9) if j != i] for i in range(9)]
    for t, (before, h, after, taking_part) in enumerate(rounds_of(config, 2)):

        def arrived(sender: int, receiver: int, t: int = t) -> bool:
            return bool(randomness.uniforms(2, "link", t, receiver, sender)[0] < 0.7)

        turns = plain_turns(order, 2, t, near, taking_part, arrived)
        expected = neighbourhood_means(h.astype(float), scores, near, arrived, turns)
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(after[~taking_part], before[~taking_part])
        at_once = neighbourhood_means(h.astype(float), scores, near, arrived)
        assert np.abs(after - at_once)[taking_part].max() > 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_a_strategy_that_looks_at_models_sees_them_as_they_are_at_a_nodes_turn(
    small: Small, order: str
) -> None:
    config = small(topology_file=GRAPH, aggregation_strategy="degCent_sim", aggregation_order=order)
    graph = make_topology(GRAPH)
    near = [sorted(graph.graph()[i]) for i in range(9)]
    tensors, score = tensors_of(config), graph.degree / 8
    for t, (_, h, after, taking_part) in enumerate(rounds_of(config, 2)):
        X = torch.from_numpy(h.copy())
        for i in plain_turns(order, 0, t, near, taking_part, lambda j, i: True):
            pairs = np.full(len(near[i]), i), np.array(near[i])
            alike = cosine_similarity(lambda part: X[:, part], tensors, *pairs)  # noqa: B023
            least = near[i][int(np.argmin(alike))]
            hood = [i, *near[i]]
            weights = np.exp((-10 if score[least] < score[i] else 10) * score[hood])
            X[i] = torch.from_numpy((weights / weights.sum()).astype(np.float32)) @ X[hood]
        np.testing.assert_allclose(after, X.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss_rule", ["hold_last", "self_weight"])
def test_a_lost_message_counts_as_its_rule_says(loss_rule: str) -> None:
    graph = make_topology(GRAPH)
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(9, 700)))
    exchange = InMemory(graph, X, seed=3, drop=0.4)
    config = StrategyConfig(aggregation_order="in_place")
    C = StrategyCoefficients(graph, exchange.links, config, {"samples": np.ones(9)}, 3)
    average = exchange.average_in_turn(C, loss_rule, C.turns)
    expected, last = X.numpy().copy(), {}
    for t in range(5):
        for i in range(9):
            hood, values = sorted(graph.graph()[i]), [expected[i]]
            for j in hood:
                if randomness.uniforms(3, "link", t, i, j)[0] < 0.6:
                    values.append(expected[j].copy())
                    last[i, j] = expected[j].copy()
                else:
                    values.append(last.get((i, j), expected[i]) if loss_rule == "hold_last" else expected[i])
            expected[i] = sum(values) / len(values)
        average(X, t)
        np.testing.assert_allclose(X.numpy(), expected, rtol=0, atol=1e-12)


def second_after_first(X: torch.Tensor, drop: float, weight: Callable[[int], float]):
    """Two nodes of which the second averages; the weight of the first one's message is that of each round."""
    exchange = InMemory(make_topology("chain:n=2"), X, seed=1, drop=drop)
    (link,) = np.flatnonzero(exchange.links.receiver == 1)

    def weights(t: int, arrived: np.ndarray) -> csr_array:
        return csr_array([[1.0, 0.0], [weight(t), 1.0 - weight(t)]])

    average = exchange.average_in_turn(weights, "hold_last", lambda t, arrived: np.array([1]))
    return average, lambda t: bool(exchange.links.arrived(t)[link])


def test_a_message_that_counts_for_nothing_is_held_for_rounds_in_which_it_counts() -> None:
    X = torch.zeros(2, 1, dtype=torch.float64)
    average, arrives = second_after_first(X, 0.5, lambda t: 0.0 if arrives(t) else 0.5)
    own, last, recalled = 0.0, None, 0
    for t in range(12):
        X[0] = t + 1.0
        if arrives(t):
            last = t + 1.0
        elif last is not None:
            own, recalled = (own + last) / 2, recalled + 1
        average(X, t)
        assert X[1, 0] == own
    assert recalled > 1


def test_a_message_that_counts_for_nothing_may_be_infinite() -> None:
    X = torch.tensor([[np.inf], [1.0]], dtype=torch.float64)
    average, arrives = second_after_first(X, 0.5, lambda t: 0.0)
    for t in range(12):
        average(X, t)
    assert any(arrives(t) for t in range(12))
    assert X[1, 0] == 1.0


def test_a_matrix_with_entries_that_no_link_carries_is_refused() -> None:
    X = torch.zeros(3, 1)
    exchange = InMemory(make_topology("chain:n=3"), X)
    everybody = csr_array(np.full((3, 3), 1 / 3))
    turns = np.arange(3)
    average = exchange.average_in_turn(lambda t, arrived: everybody, "renormalise", lambda t, arrived: turns)
    with pytest.raises(ValueError, match="W has entries that no link carries"):
        average(X, 0)


def test_models_are_sent_to_those_alone_that_listen() -> None:
    X = torch.zeros(3, 5)
    exchange = InMemory(make_topology("chain:n=3"), X)
    own = csr_array(np.eye(3))
    average = exchange.average_in_turn(lambda t, arrived: own, "renormalise", lambda t, arrived: np.arange(0))
    average(X, 0, np.array([True, False, False]))
    assert exchange.take_traffic().sent.tolist() == [0, 5 * 4, 0], "from node 1 to node 0"


def test_a_link_may_change_what_is_sent() -> None:
    graph = make_topology("chain:n=3")
    X = torch.tensor([[0.0], [2.0], [4.0]], dtype=torch.float64)
    exchange = InMemory(graph, X, outgoing=lambda vectors, *_: 10 * vectors)
    config = StrategyConfig(aggregation_order="in_place")
    C = StrategyCoefficients(graph, exchange.links, config, {}, 0)
    exchange.average_in_turn(C, "renormalise", C.turns)(X, 0)
    np.testing.assert_allclose(X[:, 0].numpy(), [10, (100 + 2 + 40) / 3, (4 + 10 * 142 / 3) / 2], rtol=1e-12)


def test_readiness_is_drawn_for_each_round_and_node_and_ties_go_by_number() -> None:
    graph = make_topology(GRAPH)
    links, everybody = over_edges(graph, 0, 5), np.ones(9, bool)
    all_arrive = np.ones(len(links), bool)

    def turns(t: int, seed: int = 5) -> list[int]:
        return order_of_turns("in_place_by_readiness", links, seed, t, all_arrive, everybody).tolist()

    assert turns(0) == turns(0)
    assert len({tuple(turns(t)) for t in range(20)}) > 15
    assert turns(0) != turns(0, seed=6)
    complete = over_edges(make_topology("complete:n=9"), 0, 5)
    order = order_of_turns("in_place_by_readiness", complete, 5, 0, np.ones(72, bool), everybody)
    assert order.tolist() == list(range(9))
    # Over many rounds, the node with the most neighbours waits longest.
    places = np.mean([np.argsort(turns(t)) for t in range(300)], axis=0)
    assert places[graph.degree.argmax()] > places[graph.degree.argmin()] + 1


def test_nodes_that_are_left_keep_their_times_when_others_fail() -> None:
    graph = Topology(5, np.array([[0, 1], [2, 3], [3, 4]]), np.ones(3), "drawn")
    part, _ = graph.subgraph(np.array([2, 3, 4]))
    for t in range(20):
        whole, few = (
            order_of_turns("in_place_by_readiness", links, 1, t, np.ones(len(links), bool), np.ones(n, bool))
            for n, links in ((5, over_edges(graph, 0, 1)), (3, over_edges(part, 0, 1)))
        )
        assert [node - 2 for node in whole if node >= 2] == few.tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_stopped_and_resumed_it_gives_the_same_bits(
    small: Small, tmp_path: Path, order: str, engine: str
) -> None:
    flags = {
        "topology_file": GRAPH, "aggregation_order": order, "engine": engine, "drop_probability": 0.2,
        "loss_rule": "hold_last", "participation": 0.7, "rounds": 4, "failing_nodes": ("4@3",),
    }  # fmt: skip
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    config = small(**flags, out_dir=tmp_path / "pieces")
    for rounds in (1, 2):
        with pytest.raises(experiment.Stopped):
            experiment.run(config, stop=StopAfter(rounds))
    assert results.differences(whole, experiment.run(config)) == []


def test_it_is_part_of_the_id_only_if_it_is_not_the_default(small: Small) -> None:
    plain = make_plan(small()).identity.id
    assert make_plan(small(aggregation_order="simultaneous")).identity.id == plain
    assert len({plain, *(make_plan(small(aggregation_order=order)).identity.id for order in ORDERS)}) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"algorithm": "relaysgd"}, "has no effect in this experiment"),
        ({"algorithm": "fedavg"}, "take --algorithm decentralized or dpsgd"),
        ({"aggregation_strategy": "test_agg"}, "has no effect in this experiment"),
    ],
)
def test_algorithms_to_which_it_has_no_meaning_refuse_it(flags: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match="aggregation_order in_place: ") as refused:
        make({**flags, "aggregation_order": "in_place"})
    assert message in str(refused.value)


def test_an_unknown_order_is_refused_with_those_that_there_are() -> None:
    right = "must be 'simultaneous', 'in_place' or 'in_place_by_readiness'"
    with pytest.raises(InputError, match=f"aggregation_order sorted: {right}"):
        make({"aggregation_order": "sorted"})
