"""Pairwise averaging in simulated time, without a model: the forms, what they keep, and what they send."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from dml import randomness
from dml.algorithms import reference
from dml.algorithms.asynchronous import EventSetup, RoundEnd
from dml.algorithms.outages import Outages
from dml.algorithms.pairwise import pull, start, sum_weights, swap
from dml.algorithms.pairwise.options import PairwiseOptions
from dml.clock.compute import ComputeTimes
from dml.clock.laws import parse
from dml.clock.transfers import Transfers
from dml.execution.events import Events
from dml.execution.execution import drive
from dml.simulation.simulation import Simulation
from dml.topology import make
from dml.training.learning_rate import constant
from dml.training.request import Request, Trained

FORMS = ("pull", "swap", "push", "running_sum")
COMPLETE, RING, TREE = "complete:n=16", "cycle:n=16", "barabasi_albert:n=9,m=1,seed=3"
P = 3
KINDS = {
    "pull": {pull.ASKED: "asked", pull.ANSWERED: "answered", pull.EMPTY: "empty", pull.LOST: "lost"},
    "swap": {swap.MET: "met", swap.LOST: "lost"},
    "push": {
        sum_weights.ARRIVED: "arrived",
        sum_weights.LOST: "lost",
        sum_weights.ACKNOWLEDGED: "acknowledged",
    },
}
KINDS["running_sum"] = KINDS["push"]


@dataclass
class Run:
    """A rule on a simulation whose updates change models by keyed noise, and a record of what happens.

    Args:
        form: of pairwise averaging.
        graph: its nodes.
        options: further ones of the algorithm.
    """

    form: str
    graph: str = COMPLETE
    seed: int = 0
    drop: float = 0.0
    compute: str = "constant:1"
    latency: float = 0.0
    bandwidth: float | None = None
    size: float = 0.0
    options: dict = field(default_factory=dict)
    away: tuple[str, ...] = ()

    def __post_init__(self):
        topology = make(self.graph)
        self.n = n = topology.n
        X = torch.zeros(2 * n, P, dtype=torch.float64)
        X[:n] = torch.from_numpy(np.random.default_rng(self.seed).standard_normal((n, P)))
        self.X, self.x0, self.record = X, X[:n].numpy().copy(), []
        self.simulation = Simulation(
            topology,
            X,
            n,
            ComputeTimes(parse(self.compute), np.ones(n), self.seed),
            Transfers(n, self.latency, self.bandwidth, False),
            seed=self.seed,
            drop=self.drop,
        )
        options = PairwiseOptions(pairwise_form=self.form, **self.options)
        self.rule = start(EventSetup(self.simulation, options, self.seed))
        self._write(self.rule)
        end = RoundEnd("updates", n)
        outages = Outages(n, away=self.away)
        self.events = Events(self.rule, self.simulation, constant(0.1), end, range(n), None, outages)

    def _write(self, rule):
        applied, turn_to, on = rule.applied, rule.turn_to, rule.on

        def write_update(slot, node):
            change = self.X[self.simulation.first_slot + slot].numpy().copy()
            self.record.append(("update", node, change, self.simulation.updates.loss[slot]))
            applied(slot, node)

        def write_turn(node, peer):
            self.record.append(("turn", node, peer))
            turn_to(node, peer)

        def write_event(kind, a, b):
            self.record.append((KINDS[self.form][kind], a, b))
            on(kind, a, b)

        rule.applied, rule.turn_to, rule.on = write_update, write_turn, write_event

    def _train(self, request: Request) -> Trained:
        """Changes that depend on the node and on the number of its update, and on the model a little."""
        for row, node in zip(request.rows.tolist(), request.nodes.tolist(), strict=True):
            count = self.simulation.updates.begun[node]
            noise = randomness.generator(self.seed, "noise", node, count).standard_normal(P)
            self.X[row] = self.size * (torch.from_numpy(noise) - 0.1 * self.X[row])
        losses = np.array([1 + node / self.n for node in request.nodes], np.float32)
        answers = np.ones(len(losses), np.int64)
        return Trained(losses, losses, answers, answers)

    def rounds(self, count, first=0):
        for number in range(first, first + count):
            yield drive(self.events.advance(number, lambda told: True), self._train)

    def go(self, count, first=0):
        self.record.clear()
        for _ in self.rounds(count, first):
            pass
        return self

    @property
    def models(self):
        return self.X[: self.n].numpy()

    def weighted(self):
        """The weighted sum of all that there is, and the sum of the weights."""
        weights = np.array(getattr(self.rule, "weight", np.ones(self.n)))
        total, weight = weights @ self.models, weights.sum()
        if self.form in ("push", "running_sum"):
            state = self.rule.messages.state()
            total = total + state["message_numbers"].T @ state["message_models"]
            weight += state["message_numbers"].sum()
        return total.ravel(), weight

    def variance(self):
        return ((self.models - self.models.mean(0)) ** 2).sum()


def replay(run: Run, form):
    for what, *about in run.record:
        if what == "update":
            form.update(*about)
        elif what == "turn":
            form.turn(*about)
        else:
            form.event(what, *about)
    return form


def shares(name):
    """The published factors once more, without guards: (c_i, l_i, c_j, l_j) -> f."""
    return {
        "constant": lambda ci, li, cj, lj: 0.5,
        "clock": lambda ci, li, cj, lj: cj / (ci + cj),
        "loss": lambda ci, li, cj, lj: li / (li + lj),
        "linear": lambda ci, li, cj, lj: 0.5 - 0.45 * min(ci, 20) / 20,
        "divergence": lambda ci, li, cj, lj: li**2 / (li**2 + lj**2) * min(li / 1.5, 1),
    }[name]


TIMES = [
    {},
    {"compute": "exponential:1", "latency": 0.3, "graph": TREE},
    {"compute": "lognormal:1,0.5", "latency": 0.1, "bandwidth": 30.0},
]


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("times", TIMES, ids=["constant", "exponential", "lognormal"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_plain_loop_over_the_same_events(form, times, drop):
    run = Run(form, drop=drop, size=0.1, **times).go(25)
    made = {
        "swap": reference.PairwiseSwap,
        "push": reference.PairwisePush,
        "running_sum": reference.PairwiseRunningSum,
    }
    x0 = run.x0
    expected = replay(
        run, reference.PairwisePull(x0, shares("constant")) if form == "pull" else made[form](x0)
    )
    assert len(run.record) > 25 * run.n * 1.5
    np.testing.assert_allclose(run.models, expected.x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("name", ["constant", "clock", "loss", "linear", "divergence"])
def test_pull_takes_over_what_the_interpolation_says(name, overlap):
    options = {"interpolation": name, "overlap": overlap}
    options |= {"linear": {"linear_updates": 20}, "divergence": {"divergence_target": 1.5}}.get(name, {})
    times = {"compute": "exponential:1", "latency": 0.2}
    run = Run("pull", drop=0.2, size=0.1, options=options, **times).go(25)
    expected = replay(run, reference.PairwisePull(run.x0, shares(name)))
    np.testing.assert_allclose(run.models, expected.x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.rule.clock, expected.clock, rtol=1e-12)


@pytest.mark.parametrize("times", TIMES, ids=["constant", "exponential", "lognormal"])
@pytest.mark.parametrize("form", FORMS)
def test_only_pull_moves_the_mean(form, times):
    """At a loss of 30 %: the weighted mean of models and shares under way, in the midst of the run."""
    run = Run(form, drop=0.3, **times)
    total, weight = run.weighted()
    drift = 0.0
    for _ in run.rounds(20):
        now, weights = run.weighted()
        drift = max(drift, np.abs(now / weights - total / weight).max())
        assert abs(weights - weight) <= 1e-12
    if form == "pull":
        assert drift > 0.01
    else:
        assert drift <= 1e-12


@pytest.mark.parametrize("form", ["push", "running_sum"])
def test_updates_move_the_weighted_sum_by_their_weight(form):
    """sum w x, with all shares under way, moves by w_i times the change of node i, and by nothing else."""
    run = Run(form, drop=0.3, size=0.1, compute="exponential:1", latency=0.2)
    moved, applied = np.zeros(P), run.rule.applied

    def count(slot, node):
        nonlocal moved
        moved = moved + run.rule.weight[node] * run.X[run.simulation.first_slot + slot].numpy()
        applied(slot, node)

    run.rule.applied = count
    before, _ = run.weighted()
    run.go(30)
    assert np.abs(moved).max() > 0.1
    np.testing.assert_allclose(run.weighted()[0], before + moved, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("drop", "limit"), [(0.0, 80), (0.3, 120), (0.7, 300)])
def test_pull_reaches_consensus_under_loss_but_not_at_the_mean(drop, limit):
    """16 nodes: the variance falls to 1e-12 of what it was (measured: 36, 55 and 140 rounds)."""
    drifts = []
    for seed in range(4):
        run = Run("pull", seed=seed, drop=drop)
        before = run.variance()
        run.go(limit)
        assert run.variance() <= 1e-12 * before
        drifts.append(run.models.mean(0) - run.x0.mean(0))
    assert 0.1 < np.sqrt(np.mean(np.square(drifts))) < 0.4


@pytest.mark.parametrize(
    ("form", "graph", "rounds"),
    [("swap", COMPLETE, 150), ("push", COMPLETE, 150), ("running_sum", RING, 1500)],
)
def test_the_other_forms_reach_consensus_at_the_mean_under_loss(form, graph, rounds):
    run = Run(form, graph, drop=0.3).go(rounds)
    assert np.abs(run.models - run.x0.mean(0)).max() <= 1e-9


def test_shares_that_are_not_acknowledged_are_gone_with_the_mean():
    """What the same events would have made of the models if a lost half were lost."""
    run = Run("push", drop=0.3).go(150)
    kept = replay(run, reference.PairwisePush(run.x0)).x
    lost = replay(run, reference.PairwisePush(run.x0, acknowledged=False)).x
    assert np.abs(kept - run.x0.mean(0)).max() <= 1e-9
    assert np.abs(lost - lost.mean(0)).max() <= 1e-9
    assert np.abs(lost - run.x0.mean(0)).max() >= 1e-2


@pytest.mark.parametrize("form", FORMS)
def test_bytes_belong_to_the_sender_of_a_model(form):
    """Counted once more from the record: models of P numbers, and a few numbers along with them."""
    run = Run(form, drop=0.3, compute="exponential:1")
    sent, control, ready = np.zeros(run.n, int), 0, np.zeros(run.n, bool)
    for interval in run.rounds(10):
        sent += interval.traffic.sent
        control += interval.traffic.control
        assert interval.traffic.sent.sum() == interval.traffic.edges.sum()
    expected, numbers = np.zeros(run.n, int), 0
    for what, *about in run.record:
        if what == "turn":
            node, peer = about
            senders = {"pull": [], "swap": [node, peer]}.get(form, [node])
            numbers += 0 if form == "swap" else 1
            expected[senders] += 4 * P
        elif what == "asked":
            peer = about[1]
            # The answer of a peer without an update has a header alone.
            numbers += 2
            expected[peer] += 4 * P * ready[peer]
        elif what == "arrived" and form == "push":
            numbers += 1
        elif what == "update":
            ready[about[0]] = True
    np.testing.assert_array_equal(sent, expected)
    assert control == 4 * numbers


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_exchanged_with_a_probability_of_zero(form):
    run = Run(form, size=0.1, options={"pull_probability": 0.0}).go(5)
    assert {what for what, *_ in run.record} == {"update"}


def test_the_pull_probability_is_that_of_an_exchange_after_an_update():
    run = Run("pull", options={"pull_probability": 0.3}).go(100)
    turns = sum(what == "turn" for what, *_ in run.record)
    assert turns / 1600 == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 1600))


def test_an_answer_is_the_model_and_the_header_of_the_moment_of_the_answer():
    """With a latency of 0.3, requests of time 1 are answered at 1.3, and the answers are mixed in at 1.6."""
    run = Run("pull", "chain:n=2", latency=0.3)
    first, second = run.x0
    run.go(2)
    # Both have fetched the other's first model; a node waits for its answer, and starts again at 1.6.
    np.testing.assert_allclose(run.models, [(first + second) / 2] * 2, atol=1e-15)
    assert run.simulation.now == pytest.approx(2.6)
    overlapping = Run("pull", "chain:n=2", latency=0.3, options={"overlap": True}).go(2)
    assert overlapping.simulation.now == pytest.approx(2.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_mixed_into_no_other(form, bad):
    run = Run(form, "complete:n=5")
    run.X[2] = bad
    run.go(20)
    finite = np.isfinite(run.models).all(1)
    assert finite.tolist() == [True, True, False, True, True]
    assert run.rule.refused > 0


def test_odd_headers_are_refused_and_counted():
    run = Run("pull", "complete:n=5", options={"interpolation": "loss"})
    train = run._train

    def odd(request):
        trained = train(request)
        trained.loss[request.nodes == 2] = -1
        return trained

    run._train = odd
    run.go(20)
    assert run.rule.interpolation.refused > 10
    # Nobody has taken over anything from node 2, and node 2 nothing from others.
    np.testing.assert_array_equal(run.models[2], run.x0[2])


@pytest.mark.parametrize("form", FORMS)
def test_a_peer_that_is_away_is_avoided_but_not_forgotten(form):
    """Peers learn that it is away, and that it is back, by what their messages come to."""
    options = {} if form == "running_sum" else {"peer_score_rate": 0.5}
    about = {"compute": "exponential:1", "latency": 0.1, "away": ("4@2-102",)}
    run = Run(form, "complete:n=5", options=options, **about).go(42)
    left = run.models[4].copy()
    assert share_of(4, run.go(60, first=42)) == pytest.approx(
        0.25 if form == "running_sum" else 0.05, abs=0.05
    )
    assert {node for what, node, *_ in run.record if what == "update"} == {0, 1, 2, 3}
    np.testing.assert_array_equal(run.models[4], left)
    run.go(100, first=102)
    # Node 4 itself chooses others, in one of five turns.
    assert share_of(4, run.go(100, first=202)) == pytest.approx(0.2, abs=0.05)


def share_of(node, run):
    """The share of the choices of the last rounds that fell on a node."""
    chosen = [peer for what, _, peer, *_ in run.record if what == "turn"]
    return chosen.count(node) / len(chosen)


@pytest.mark.parametrize("form", ["swap", "push", "running_sum"])
def test_absences_do_not_move_the_mean_of_all_nodes(form):
    """A share that is under way when its sender leaves goes back to it, or stays on the link."""
    run = Run(
        form, "complete:n=5", compute="exponential:1", latency=0.4, away=("4@3-7", "1@2s-5.5s", "2@6-9")
    )
    total, weight = run.weighted()
    for _ in run.rounds(12):
        now, weights = run.weighted()
        np.testing.assert_allclose(now, total, rtol=0, atol=1e-12)
        assert weights == pytest.approx(weight, abs=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_run_continues_from_a_saved_state_with_the_same_bits(form, overlap):
    options = {"overlap": overlap} if form in ("pull", "swap") else {}
    about = {"drop": 0.3, "compute": "exponential:1", "latency": 0.4, "size": 0.1, "options": options}
    whole, part, again = (Run(form, **about) for _ in range(3))
    whole.go(20)
    part.go(8)
    again.X.copy_(part.X)
    again.events.load_state({name: array.copy() for name, array in part.events.state().items()})
    again.go(12, first=8)
    assert torch.equal(again.X, whole.X)
    assert again.simulation.queue.digest == whole.simulation.queue.digest
    for name, array in whole.events.state().items():
        np.testing.assert_array_equal(again.events.state()[name], array)


@pytest.mark.parametrize("name", ["busy", "clock", "weight", "message_models", "peer_scores"])
def test_a_state_of_another_shape_is_refused(name):
    form = "push" if name == "weight" else "pull"
    run = Run(form, latency=0.4).go(1)
    state = run.rule.state()
    wrong = state | {name: state[name][..., :-1] if name == "message_models" else state[name][:-1]}
    with pytest.raises(ValueError, match="shape"):
        Run(form).rule.load_state(wrong)
    with pytest.raises(KeyError):
        Run(form).rule.load_state({key: value for key, value in state.items() if key != name})
