"""Multi-Walk against a plain second implementation, and its formulas, bytes and times."""

import heapq
from collections import deque

import numpy as np
import pytest
import torch
from event_runs import BATCH, SEED, Run
from linear_models import INPUTS, LABELS, gradient
from torch import nn

from dml import randomness
from dml.algorithms import multi_walk, walk_mixing
from dml.algorithms.registry import ALGORITHMS
from dml.clock.compute import ComputeTimes
from dml.clock.laws import parse
from dml.errors import InputError
from dml.topology import make
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine
from dml.walks.routes import Routes
from dml.walks.starts import starts
from dml.walks.transitions import matrix

GRAPH = make("barabasi_albert:n=7,m=2,seed=1")
SIZE = LABELS * (INPUTS + 1)


class Plain:
    """Multi-Walk as loops over plain lists: one event after another, one update at a time.

    An update is computed when it begins, and added when it ends.
    """

    def __init__(self, run, walks, *, mixing=0, momentum=0.0, nesterov=False, owner="node", cut=None):
        self.run, self.R, self.mixing, self.cut = run, walks, mixing, cut
        self.momentum, self.nesterov, self.owner = momentum, nesterov, owner
        n, x0 = run.topology.n, run.X[0, :SIZE].numpy().copy()
        self.x, self.u = [x0.copy() for _ in range(walks)], [x0.copy() for _ in range(walks)]
        self.x0, self.last, self.left = x0, [0, 1], {}
        self.m = {}
        self.place, self.begun, self.queue = [0] * n, [0] * n, [deque() for _ in range(n)]
        self.busy = [0] * n
        P = matrix(run.topology, run.rule._options.transition)
        self.route, self.step = Routes(P, SEED), [0] * walks
        self.at = starts(run.topology, walks, run.rule._options.starts, SEED)
        self.seconds = ComputeTimes(parse(run.compute), run.factors, SEED)
        self.heap, self.count, self.hops, self.now = [], 0, 0, 0.0
        self.learned = []
        for walk in range(walks):
            self.arrive(walk)

    def push(self, after, what, *about):
        heapq.heappush(self.heap, (self.now + after, len(self.heap) + 1000 * self.count, what, about))

    def columns(self, walk):
        if self.cut is None:
            return slice(0, SIZE)
        return slice(self.cut, SIZE) if walk % 2 else slice(0, self.cut)

    def arrive(self, walk):
        node = self.at[walk]
        if self.run.waits and (self.busy[node] or self.queue[node]):
            self.queue[node].append(walk)
        else:
            self.begin(walk)

    def begin(self, walk):
        node = self.at[walk]
        self.busy[node] += 1
        if self.cut is not None:
            other = self.columns(walk ^ 1)
            self.x[walk][other] = self.left.get((node, walk // 2), self.x0)[other]
        y, steps = self.x[walk].copy(), self.run.steps
        slot = {"node": node, "walk": walk, "reset": object()}[self.owner]
        m = self.m.get(slot, np.zeros(SIZE))
        for _ in range(steps):
            which = self.batch(node)
            data = self.run.data
            g = gradient(data.x[node][which].astype(float), y, None, data.y[node][which])
            m = self.momentum * m + g
            y -= self.run.training.lr * (g + self.momentum * m if self.nesterov else m)
        self.m[slot] = m
        self.push(self.seconds(node, self.begun[node], steps), "end", walk, node, y - self.x[walk])
        self.begun[node] += 1

    def batch(self, node):
        count = int(self.run.data.samples[node])
        number, batch = divmod(self.place[node], -(-count // BATCH))
        order = randomness.generator(SEED, "batch order", node, number).permutation(count)
        self.place[node] += 1
        return order[batch * BATCH : (batch + 1) * BATCH]

    def until(self, updates):
        while self.count < updates:
            self.now, _, what, about = heapq.heappop(self.heap)
            getattr(self, what)(*about)
        return self

    def end(self, walk, node, change):
        self.count += 1
        self.x[walk] += change
        own, part = self.columns(walk), walk % 2 if self.cut is not None else 0
        if node == self.mixing:
            groups = self.R if self.cut is None else self.R // 2
            before = self.u[walk][own].copy()
            self.learned.append((part, (self.x[walk][own] - before) / groups))
            self.x[walk][own] = self.u[self.last[part]][own] + (self.x[walk][own] - before) / groups
            self.u[walk][own] = self.x[walk][own]
            self.last[part] = walk
        elif self.mixing == "meeting":
            there = [k for k in range(self.R) if k == walk or k in self.here(node)]
            mean = np.mean([self.x[k] for k in there], axis=0)
            for k in there:
                self.x[k] = mean.copy()
        if self.cut is not None:
            kept = self.left.setdefault((node, walk // 2), self.x0.copy())
            kept[own] = self.x[walk][own]
        self.busy[node] -= 1
        if self.queue[node]:
            self.begin(self.queue[node].popleft())
        target = self.route(walk, self.step[walk], node)
        self.step[walk] += 1
        if target == node:
            self.arrive(walk)
        else:
            self.hops += 1
            self.push(self.run.latency, "land", walk, target)

    def here(self, node):
        running = [about[0] for _, _, what, about in self.heap if what == "end" and about[1] == node]
        return [*running, *self.queue[node]]

    def land(self, walk, target):
        self.at[walk] = target
        self.arrive(walk)


def walks_of(run):
    return run.X[run.walks, :SIZE].numpy()


def delivered(run):
    return run.rule.singles()["deliverable"][:SIZE].numpy()


ENGINES = pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
NESTEROV = TrainingConfig(lr=0.1, batch_size=BATCH, momentum=0.9, nesterov=True)


@ENGINES
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("options", [
    {"walks": 1},
    {"walks": 3, "mixing_node": 2},
    {"walks": 9, "starts": "uniform", "transition": "lazy:0.3"},
    {"walks": 4, "starts": (1, 1, 1, 5), "optimizer_state": "walk", "transition": "simple"},
    {"walks": 4, "optimizer_state": "reset", "mixing": "none"},
    {"walks": 5, "mixing": "meeting"},
    {"walks": 6, "split": True, "split_at": "bias"},
    {"walks": 2, "split": True, "split_at": "bias", "mixing": "none"},
], ids=str)  # fmt: skip
def test_every_walk_is_where_the_plain_form_has_it(engine, waits, options):
    run = Run("multi_walk", GRAPH, options, engine, NESTEROV, latency=0.3, waits=waits, steps=3)
    mixing = options.get("mixing", options.get("mixing_node", GRAPH.most_connected(1)[0]))
    plain = Plain(
        run,
        options["walks"],
        mixing=mixing,
        momentum=0.9,
        nesterov=True,
        owner=options.get("optimizer_state", "node"),
        cut=LABELS * INPUTS if options.get("split") else None,
    )
    for _ in range(12):
        (interval,) = run.rounds(1)
        plain.until(7 * run.round)
        for walk, (found, wanted) in enumerate(zip(walks_of(run), plain.x, strict=True)):
            own = plain.columns(walk)
            np.testing.assert_allclose(found[own], wanted[own], rtol=0, atol=1e-12)
        assert interval.updates.sum() == 7
    assert np.ptp(walks_of(run), axis=0).max() > 1e-3 or options["walks"] == 1
    if run.rule._copies is not None and "split" not in options:
        np.testing.assert_allclose(delivered(run), plain.u[plain.last[0]], rtol=0, atol=1e-12)
    elif run.rule._copies is not None:
        joined = np.where(np.arange(SIZE) < plain.cut, plain.u[plain.last[0]], plain.u[plain.last[1]])
        np.testing.assert_allclose(delivered(run), joined, rtol=0, atol=1e-12)
    else:
        parts = [np.mean([plain.x[k] for k in range(options["walks"]) if k % 2 == p], 0) for p in (0, 1)]
        mean = np.where(np.arange(SIZE) < plain.cut, *parts) if plain.cut else np.mean(plain.x, 0)
        np.testing.assert_allclose(delivered(run), mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_delivered_model_is_the_start_and_the_mean_of_what_was_learned(seed, monkeypatch):
    """u = x(0) + 1/R sum over returns of (x - u_r), on a random graph with a random number of walks."""
    rng = np.random.default_rng(seed)
    n, walks = int(rng.integers(5, 12)), int(rng.integers(1, 9))
    topology = make(f"barabasi_albert:n={n},m=2,seed={seed}")
    options = {"walks": walks, "starts": "uniform", "mixing_node": int(rng.integers(n))}
    run = Run("multi_walk", topology, options, training=NESTEROV, latency=0.1, seed=seed)
    x0, learned, mix = delivered(run).copy(), [], walk_mixing.mix

    def noted(x, last, own, weight):
        learned.append((x - own).numpy().copy())
        mix(x, last, own, weight)

    monkeypatch.setattr(walk_mixing, "mix", noted)
    run.rounds(25)
    assert len(learned) > 5
    np.testing.assert_allclose(delivered(run), x0 + sum(learned) / walks, rtol=0, atol=1e-10)
    assert np.abs(delivered(run) - x0).max() > 1e-2


def test_one_walk_is_a_random_walk_whether_or_not_it_mixes():
    one = Run("multi_walk", GRAPH, {"walks": 1}, training=NESTEROV)
    alone = Run("random_walk", GRAPH, training=NESTEROV)
    for run in (one, alone):
        run.rounds(20)
    assert torch.equal(one.X[one.walks], alone.X[alone.walks])
    assert np.array_equal(delivered(alone), walks_of(alone)[0])
    assert len(alone.X) == 2


def test_walks_keep_their_mean_where_they_meet(monkeypatch):
    run = Run("multi_walk", GRAPH, {"walks": 6, "mixing": "meeting"}, waits=True)
    mean, met = [], []

    def noted(models):
        met.append(len(models))
        before = torch.stack(list(models)).mean(0)
        walk_mixing.meet(models)
        mean.append((torch.stack(list(models)).mean(0) - before).abs().max().item())
        assert all(torch.equal(model, models[0]) for model in models)

    monkeypatch.setattr(multi_walk, "meet", noted)
    run.rounds(10)
    assert max(mean) < 1e-15
    assert set(met) >= {2, 3}


def test_the_learning_rate_may_grow_with_the_walks():
    """Then u moves by as much as one walk does, until their copies differ."""
    options = ALGORITHMS["multi_walk"].options
    assert options(walks=8, lr_scale_with_walks=True).lr_factor(1.0) == 8
    assert options(walks=8, lr_scale_with_walks=True, split=True).lr_factor(1.0) == 4
    assert options(walks=8).lr_factor(1.0) == 1


class Deep(nn.Sequential):
    """Three layers."""

    def __init__(self):
        super().__init__(nn.Linear(INPUTS, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, LABELS))


@pytest.mark.parametrize(
    ("layer", "first"), [(None, 55), ("4", 55), ("2", 25), ("2.bias", 50), ("0.bias", 20), ("4.weight", 55)]
)
def test_a_pair_of_walks_carries_a_model_in_two_parts(layer, first):
    """The first walk sends what is before the layer, and the second one the rest."""
    size = 55 + 18
    run = Run(
        "multi_walk",
        GRAPH,
        {"walks": 4, "split": True, "split_at": layer},
        build=Deep,
        per_round=1,
        train=False,
    )
    assert run.population.size == size
    assert run.rule._bytes == [4 * first, 4 * (size - first)] * 2


@pytest.mark.parametrize(
    ("layer", "why"), [("1", "is no layer"), ("0", "begins with the first parameter"), ("x", "is no layer")]
)
def test_other_layers_are_refused(layer, why):
    options = {"walks": 2, "split": True, "split_at": layer}
    with pytest.raises(InputError, match=f"split_at {layer}: {why}.*: 2, 4$"):
        Run("multi_walk", GRAPH, options, build=Deep)


def test_a_walk_with_the_first_part_may_train_longer():
    options = {"walks": 2, "split": True, "split_at": "bias", "split_ratio": 3}
    run = Run("multi_walk", GRAPH, options, compute="constant:1", per_round=1, steps=2)
    run.rounds(1)
    assert run.simulation.now == 2
    assert run.simulation.updates.steps == [6, 2]
