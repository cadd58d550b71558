"""The time of synchronous rounds: against times by hand, and against loops over links and nodes."""

import dataclasses

import numpy as np
import pytest

from dml import config, experiment, results
from dml.clock.compute import ComputeTimes
from dml.clock.config import ClockConfig
from dml.clock.laws import parse
from dml.clock.rounds import AT_ONCE, Costs, RoundCost, times_of
from dml.clock.slow_nodes import factors_of
from dml.clock.transfers import Transfers
from dml.exchange.traffic import Path

SLOW = {"latency": 0.25, "bandwidth": 1e4, "compute": "constant:0.5"}
"""A clock whose times are easy to compute by hand."""


@pytest.fixture
def ran(tmp_path):
    """The result of a small experiment."""

    def run(graph, algorithm, **flags):
        flags = {"rounds": 3, "local_steps": 2, "eval_every": 1, "threads": 1, "out_dir": tmp_path, **flags}
        given = {flag: value for flag, value in flags.items() if value is not None}
        made = config.make({"topology_file": graph, "algorithm": algorithm, **given})
        return results.load(experiment.run(made))

    return run


def size_of(found):
    """The bytes of a model's parameters."""
    sent, degree = found.arrays["communication/bytes_sent"][0], found.arrays["topology/degree"]
    return int(sent[-1]) // int(degree[-1])


def seconds(found):
    return found.arrays["time/simulated_s"]


@pytest.mark.parametrize(
    ("graph", "port"), [("cycle:n=5", 4), ("star:n=5", 8), ("complete:n=4", 6), ("chain:n=4", 4)]
)
@pytest.mark.parametrize("duplex", ["full", "half"])
def test_dpsgd_sends_a_model_over_every_link_at_once(ran, graph, port, duplex):
    """The busiest port is that of the node of highest degree: it sends and receives as often as that."""
    found = ran(graph, "dpsgd", **SLOW, duplex=duplex)
    carried = size_of(found) * (port if duplex == "half" else 1)
    assert seconds(found) == pytest.approx([2 * 0.5 + 0.25 + carried / 1e4] * 3, rel=1e-12)


@pytest.mark.parametrize("duplex", ["full", "half"])
def test_fedavg_is_one_hop_to_the_clients_and_one_back(ran, duplex):
    found = ran("cycle:n=4", "fedavg", **SLOW, duplex=duplex, participation=0.5)
    down, up = found.arrays["communication/server_bytes"][0]
    assert down == up
    # Two of four nodes are clients, whose messages share the server's port if there is one for both ways.
    carried = down if duplex == "half" else down // 2
    assert seconds(found) == pytest.approx([2 * 0.5 + 2 * (0.25 + carried / 1e4)] * 3, rel=1e-12)
    assert found.arrays["time/hops"].tolist() == [[1, 1]] * 3
    # Before the first measurement: the server's models, and the training.
    assert found.arrays["metrics/simulated_s"][0] == pytest.approx(2 * 0.5 + 0.25 + carried / 1e4)


@pytest.mark.parametrize(("algorithm", "flags"), [
    ("allreduce", {}), ("decentralized", {"aggregation_strategy": "unweighted_fl"}),
    ("allreduce", {"drop_probability": 0.3}),
])  # fmt: skip
@pytest.mark.parametrize("duplex", ["full", "half"])
def test_all_to_all_counts_as_a_ring_in_time_and_as_all_to_all_in_bytes(ran, algorithm, flags, duplex):
    found = ran("star:n=5", algorithm, **SLOW, duplex=duplex, **flags)
    size = int(found.arrays["communication/bytes_sent"][0, 0]) // 4
    slice_s = size / 5 / 1e4 * (2 if duplex == "half" else 1)
    assert seconds(found) == pytest.approx([2 * 0.5 + 8 * (0.25 + slice_s)] * 3, rel=1e-12)


@pytest.mark.parametrize("duplex", ["full", "half"])
def test_relays_send_one_message_over_every_edge_of_the_tree(ran, duplex):
    """Messages of a round hold what came in the round before, so no message waits for another one."""
    found = ran("star:n=5", "relaysgd", **SLOW, duplex=duplex)
    carried = int(found.arrays["communication/bytes_sent"][0, 1])
    port = 2 * 4 * carried
    expected = 2 * 0.5 + 0.25 + (port if duplex == "half" else carried) / 1e4
    assert seconds(found) == pytest.approx([expected] * 3, rel=1e-12)


def test_two_trees_relay_their_parts_at_the_same_time(ran):
    graph = {"graph": "double_binary_trees:n=8", "tree": "double_binary_trees"}
    found = ran(algorithm="relaysgd", **graph, **SLOW)
    assert found.arrays["time/hops"].tolist() == [[0, 1]] * 3
    per_link = found.arrays["communication/edge_bytes"] / 3
    assert len(set(per_link.ravel().tolist())) > 1, "some links carry messages of both trees"
    assert found.arrays["time/link_bytes"][:, 1].tolist() == [per_link.max()] * 3
    of_node = np.zeros(8)
    np.add.at(of_node, found.arrays["topology/edges"], per_link.sum(1, keepdims=True))
    assert found.arrays["time/port_bytes"][:, 1].tolist() == [of_node.max()] * 3


def test_one_message_of_gradient_tracking_holds_two_vectors(ran):
    single = ran("cycle:n=4", "dpsgd", **SLOW)
    double = ran("cycle:n=4", "gradient_tracking", **SLOW)
    assert double.arrays["time/hops"].tolist() == single.arrays["time/hops"].tolist() == [[0, 1]] * 3
    assert (double.arrays["time/link_bytes"] == 2 * single.arrays["time/link_bytes"]).all()


def test_exchanges_of_one_round_follow_one_another(ran):
    found = ran("cycle:n=5", "one_peer_exponential", exchanges=3, **SLOW)
    assert found.arrays["time/hops"].tolist() == [[0, 3]] * 3
    size = int(found.arrays["communication/bytes_sent"][0, 0]) // 3
    assert seconds(found) == pytest.approx([2 * 0.5 + 3 * (0.25 + size / 1e4)] * 3, rel=1e-12)


def test_a_proximal_term_sends_models_before_the_training(ran):
    found = ran("cycle:n=4", "decentralized", prox_coeff=0.1, **SLOW)
    assert found.arrays["time/hops"].tolist() == [[1, 1]] * 3


def test_a_node_that_averages_in_its_turn_waits_for_those_before_it(ran):
    """In a chain each node waits for the one before it: n hops, and the first node reads only the second."""
    found = ran("chain:n=4", "decentralized", aggregation_order="in_place", **SLOW)
    assert found.arrays["time/hops"].tolist() == [[0, 4]] * 3
    size = size_of(found)
    assert (found.arrays["time/link_bytes"][:, 1] == 4 * size).all()
    # One message into node 0, two into 1 and 2, and one into 3: the receiver is the busiest node.
    assert (found.arrays["time/port_bytes"][:, 1] == (1 + 2 + 2 + 1) * size).all()
    star = ran("star:n=4", "decentralized", aggregation_order="in_place", **SLOW)
    # The hub, node 0, is first, and then all leaves at once.
    assert star.arrays["time/hops"].tolist() == [[0, 2]] * 3


def test_failed_nodes_neither_train_nor_send(ran):
    found = ran("complete:n=4", "dpsgd", failing_nodes=("3@1",), slow_nodes=("3@5",), **SLOW)
    size = size_of(found)
    assert found.arrays["time/steps"].tolist() == [[2, 2, 2, 2], [2, 2, 2, 0], [2, 2, 2, 0]]
    after = 2 * 0.5 + 0.25 + size / 1e4
    assert seconds(found) == pytest.approx([after + 4 * 2 * 0.5, after, after], rel=1e-12)
    assert found.arrays["time/port_bytes"][:, 1].tolist() == [6 * size, 4 * size, 4 * size]


def by_loops(found, clock):
    """The seconds of each round of an averaging over edges: loops over nodes, and over links that queue.

    With half duplex, ports are drained one by one, since messages may be cut into pieces: the busiest port
    decides, however the messages take turns.
    """
    steps, n = found.arrays["time/steps"], len(found.arrays["topology/degree"])
    compute = ComputeTimes(clock.law, factors_of(n, clock.slow_nodes), found.config["seed"])
    begun, size, rounds = [0] * n, size_of(found), []
    for row in steps:
        slowest = 0.0
        for node in range(n):
            if row[node]:
                slowest = max(slowest, compute(node, begun[node], int(row[node])))
                begun[node] += 1
        links, arrivals, ports = Transfers(n, clock.latency, clock.bandwidth, half=False), [], [0] * n
        for edge in found.arrays["topology/edges"].tolist():
            for sender, receiver in (edge, edge[::-1]):
                arrivals.append(links.arrival(sender, receiver, size, slowest))
                ports[sender] += size
                ports[receiver] += size
        half = slowest + clock.latency + max(ports) / clock.bandwidth
        rounds.append(half if clock.duplex == "half" else max(arrivals))
    return rounds


@pytest.mark.parametrize("law", ["constant:0.5", "exponential:1", "lognormal:1,0.5", "pareto:1,2.5"])
@pytest.mark.parametrize("duplex", ["full", "half"])
def test_rounds_take_as_long_as_loops_over_nodes_and_links_say(ran, law, duplex):
    flags = {"compute": law, "slow_nodes": ("2@3",), "latency": 0.1, "bandwidth": 5e4, "duplex": duplex}
    graph = "barabasi_albert:n=7,m=2,seed=1"
    found = ran(graph, "dpsgd", rounds=6, **flags)
    assert seconds(found) == pytest.approx(by_loops(found, ClockConfig(**flags)), rel=1e-12)


def test_nodes_that_take_part_draw_by_their_own_updates(ran):
    flags = {"compute": "exponential:1", "participation": 0.5}
    found = ran("cycle:n=6", "fedavg", rounds=6, **flags)
    steps = found.arrays["time/steps"]
    assert len(set(steps.sum(0).tolist())) > 1, "some nodes take part more often than others"
    compute, begun, expected = ComputeTimes(parse("exponential:1"), np.ones(6), 0), [0] * 6, []
    for row in steps:
        expected.append(max(compute(i, begun[i], int(row[i])) for i in range(6) if row[i]))
        begun = [count + bool(row[i]) for i, count in enumerate(begun)]
    assert seconds(found).tolist() == expected


def test_rows_lie_within_their_round(ran):
    found = ran("cycle:n=4", "dpsgd", local_steps=None, epochs=2, eval_every="epoch", rounds=2, **SLOW)
    (first, second), slowest = seconds(found), found.arrays["time/steps"].max() * 0.5
    assert found.arrays["metrics/epoch"].tolist() == [0, 1, 0, 1, -1]
    expected = [slowest / 2, slowest, first + slowest / 2, first + slowest, first + second]
    assert found.arrays["metrics/simulated_s"] == pytest.approx(expected)
    assert found.attributes["simulated_s"] == pytest.approx(first + second)
    assert found.table["simulated_s"].max() == pytest.approx(first + second)


def test_without_training_only_messages_take_time(ran):
    found = ran("cycle:n=4", "decentralized", train=False, local_steps=None, **SLOW)
    assert (found.arrays["time/steps"] == 0).all()
    assert seconds(found) == pytest.approx([0.25 + size_of(found) / 1e4] * 3)
    assert found.arrays["metrics/simulated_s"][0] == 0


def test_by_default_a_step_is_a_second(ran):
    found = ran("cycle:n=4", "dpsgd")
    assert seconds(found).tolist() == [2.0] * 3
    assert found.arrays["metrics/simulated_s"].tolist() == [2.0, 4.0, 6.0, 6.0]


def test_times_do_not_depend_on_the_rounds_after_them_or_on_blocks():
    rng = np.random.default_rng(0)
    n, rounds = 64, 2 * AT_ONCE // 64 + 5
    costs = Costs(
        rng.integers(0, 3, (rounds, n)), rng.integers(0, 3, (rounds, 2)), *rng.random((2, rounds, 2))
    )
    clock = ClockConfig(compute="pareto:1,2.5", latency=0.3, bandwidth=7.0, slow_nodes=("3@2",))
    whole = times_of(costs, clock, seed=4)
    for first in (0, 1, 100, AT_ONCE // 64, rounds - 1):
        part = Costs(*(getattr(costs, field.name)[:first] for field in dataclasses.fields(costs)))
        assert times_of(part, clock, seed=4).seconds.tolist() == whole.seconds[:first].tolist()


def test_costs_survive_arrays():
    costs = [RoundCost(np.array([k, 2]), Path(), Path(k, k / 3, 2.0)) for k in range(3)]
    again = Costs.of(Costs.of(costs, 2).rounds(), 2)
    for field in dataclasses.fields(Costs):
        assert np.array_equal(getattr(again, field.name), getattr(Costs.of(costs, 2), field.name))
    assert Costs.of([], 3).steps.shape == (0, 3)
    assert times_of(Costs.of([], 3), ClockConfig(), 0).seconds.tolist() == []
