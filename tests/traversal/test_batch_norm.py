"""Batch norm that nodes compute is that of the whole batch: statistics, gradients, messages and bytes."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from virtual_batches import (
    LABELS,
    SEED,
    SHAPE,
    Run,
    Spy,
    data_of,
    gradient,
    of_torch,
    plain,
    plain_batches,
)

from dml.data.ood import NodeData
from dml.errors import InputError
from dml.models.dropout import Dropout
from dml.models.residual import InvertedResidual, basic_block, convolution
from dml.training.config import TrainingConfig
from dml.traversal import batch_norm
from dml.traversal.account import phases_of
from dml.traversal.engine import Way
from dml.traversal.plan import epoch_plan
from dml.traversal_scripts.counted import counted

CHANNELS = (3, 3, 3, 4, 4, 4, 8, 8, 4)
"""Of the batch norms of :func:`residual`, in the order in which a forward pass comes to them."""


def residual():
    """Stem, a block with the identity, one with a convolution beside it, an inverted block, and a head."""
    return nn.Sequential(
        *convolution(1, 3, 3), nn.ReLU(), basic_block(3, 3, 1), basic_block(3, 4, 2),
        InvertedResidual(4, 4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, LABELS),
    )  # fmt: skip


WAYS = [Way(apart=True), *(Way(k, True, stay) for k, stay in ((2, False), (3, False), (4, True), (5, False)))]
NAMES = ["grads", "cut=2", "cut=3", "cut=4, labels stay", "cut=5"]
BELOW = [9, 1, 3, 6, 9]
"""How many of the batch norms nodes compute in these ways."""


def buffers(module):
    return torch.cat([b.double().flatten() for b in module.buffers()])


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("n", [4, 40])
def test_the_gradient_of_a_batch_is_that_of_one_place(way, n):
    """40 nodes have one row of a batch of 16, or two, or none; the last batch has a single row."""
    for batch in (0, 6):
        expected = of_torch(residual, batch)
        found = gradient(residual, n, way, torch.float64, batch)
        assert (found - expected).abs().max() <= 1e-12
        short = gradient(residual, n, way, torch.float32, batch).double()
        assert (short - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=["grads", "cut=3"])
@pytest.mark.parametrize(
    ("flags", "optimizer"),
    [
        ({"lr": 0.1, "momentum": 0.9}, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
        ({"lr": 0.01, "optimizer": "adam"}, partial(torch.optim.Adam, lr=0.01)),
    ],
    ids=["momentum", "adam"],
)
def test_passes_end_at_the_parameters_and_running_statistics_of_centralized_training(way, flags, optimizer):
    training = TrainingConfig(batch_size=32, epochs=3, **flags)
    expected = plain(optimizer, plain_batches(97, 32, 3), build=residual)
    run = Run(n=7, build=residual, training=training, more={"way": way}).rounds(1)
    module = run.population.modules[0]
    trained = torch.cat([p.flatten() for p in module.parameters()])
    assert (trained - expected.parameters).abs().max() <= 1e-9
    assert (buffers(module) - buffers(expected.module)).abs().max() <= 1e-9


class OwnWay(nn.Module):
    """A forward pass with what models do: an own parameter, shapes, a layer twice, norms without weights."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.first = nn.BatchNorm2d(1, momentum=None)
        self.inner = nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16, affine=False)
        self.plain = nn.BatchNorm1d(16, track_running_stats=False)
        self.drop = Dropout(0.3)
        self.last = nn.Linear(16, LABELS)

    def forward(self, x):
        x = self.first(x).view(x.size(0), -1) * self.scale
        y = self.norm(self.inner(x))
        z = self.plain(self.inner(torch.tanh(y)) + x)
        return self.last(functional.relu(self.drop(z)) + y)


def test_it_holds_for_any_forward_pass_that_can_be_traced():
    """Against one pass over the whole batch on one node, with masks of dropout."""
    training = TrainingConfig(lr=0.1, batch_size=20, epochs=2)
    whole, run = (
        Run(n=n, build=OwnWay, training=training, more={"way": way}).rounds(1)
        for n, way in ((1, Way()), (9, WAYS[0]))
    )
    assert (run.parameters - whole.parameters).abs().max() <= 1e-9
    assert (buffers(run.population.modules[0]) - buffers(whole.population.modules[0])).abs().max() <= 1e-9


def spied(way, n=7, build=residual):
    run, seen = Run(n=n, build=build, more={"way": way}), []
    run.engine.visits.nodes = [Spy(node, number, seen) for number, node in enumerate(run.engine.visits.nodes)]
    run.rounds(1)
    return run, seen


@pytest.mark.parametrize(("way", "below"), [*zip(WAYS, BELOW, strict=True)], ids=NAMES)
def test_nodes_send_statistics_of_channels_and_rows_of_their_own(way, below):
    _, seen = spied(way)
    plan, channels = epoch_plan(data_of(7).samples, 16, SEED, 0), CHANNELS[:below]
    visits = [visit for batch in range(plan.batches) for visit in plan.visits(batch)]
    for node in range(7):
        own = [visit for visit in visits if visit.node == node]
        for name, ways in (("up", channels), ("down", channels[::-1])):
            messages = [m for m in seen if m[:2] == (node, name)]
            got = [[*part.shape] if part is not None else None for _, _, _, part in messages]
            sent = [[*given[0].shape] for _, _, given, _ in messages if given]
            extra = 1 if name == "up" else 0
            at_each = [[2 * c + extra] if name == "up" else [2, c] for c in ways]
            # The first message of the way back is the answer to the gradient or to the last statistics.
            assert got == [*at_each[1 - extra :], None] * len(own)
            assert sent == [[2, c] for c in ways] * len(own)
        for name in {"activations", "turn"} if way.cut else ():
            rows = [(m[2][0] if m[2] else m[3]) for m in seen if m[:2] == (node, name)]
            assert [len(part) for part in rows] == [len(visit.local) for visit in own]


def test_a_node_answers_from_its_own_rows_and_what_it_was_sent_to_the_last_bit():
    """What the other nodes do is known to it by the messages alone, as it is over a network."""
    _, seen = spied(WAYS[0])
    own = epoch_plan(data_of(7).samples, 16, SEED, 0).visits(0)[-1].node
    alone = Run(n=7, build=residual, more={"way": WAYS[0]})
    for node, other in enumerate(alone.engine.visits.nodes):
        if node != own:
            other._samples._x.zero_()
    alone.engine._learner.module.train()
    messages = [m for m in seen if m[0] == own]
    # Of the first batch; after it, the model is another one.
    last = next(k for k, (_, name, _, _) in enumerate(messages) if name == "found")
    for _, name, sent, got in messages[: last + 1]:
        answer = getattr(alone.engine.visits.nodes[own], name)(*sent)
        if name == "found":
            assert all(torch.equal(one, other) for one, other in zip(answer, got, strict=True))
        elif got is not None:
            assert torch.equal(answer, got), name
    assert last == 2 * len(CHANNELS) + 3


@pytest.mark.parametrize(("way", "below"), [*zip(WAYS, BELOW, strict=True)], ids=NAMES)
def test_the_bytes_of_all_messages_are_those_of_the_formula(way, below):
    run = Run(n=7, build=residual, more={"way": way})
    nodes = run.engine.visits.nodes = [*map(counted, run.engine.visits.nodes)]
    run.rounds(1)
    rows = epoch_plan(data_of(7).samples, 16, SEED, 0).rows
    sample = torch.zeros(1, *SHAPE, dtype=torch.float64)
    phases = phases_of(run.population.modules[0], way.cut, way.labels_stay, sample, 1, "it")
    down, up = (sum(getattr(p, name)(rows) for p in phases).sum(0) for name in ("to_nodes", "from_nodes"))
    assert down.tolist() == [node.to_node for node in nodes]
    assert up.tolist() == [node.from_node for node in nodes]
    # By the formula: what the mode sends, and per batch norm 4 (2 C + 1 + 2 C) up, and 4 (2 C + 2 C) down.
    channels = CHANNELS[:below]
    lower = [*run.population.modules[0].children()]
    parts = {None: 99, 2: 2, 3: 4, 4: 5, 5: 6}[way.cut]
    size = sum(p.numel() for layer in lower[:parts] for p in layer.parameters())
    visits, counts = (rows > 0).sum(0), data_of(7).samples
    row = {None: 0, 2: 3 * 16, 3: 3 * 16, 4: 4 * 4, 5: 4}[way.cut]
    logits = LABELS if way.labels_stay else 0
    labels = 8 if way.cut and not way.labels_stay else 0
    sums = 8 if way.labels_stay or not way.cut else 0
    expected_up = visits * (4 * size + sums + 4 * sum(4 * c + 1 for c in channels))
    expected_up += counts * (4 * row + labels + 4 * logits)
    expected_down = visits * (4 * size + 16 * sum(channels)) + counts * 4 * (row + logits)
    assert up.tolist() == expected_up.tolist()
    assert down.tolist() == expected_down.tolist()
    stops = 2 * below
    assert len(phases) == stops + (1 if not way.cut else 3 if way.labels_stay else 2)
    assert sum(p.at_nodes + p.at_orchestrator for p in phases) == pytest.approx(1)


def test_work_is_done_between_the_stops_where_the_operations_are():
    """Linear layers of 18, 36 and 54 products; a third of the work of each is done forwards."""
    lower = [nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 9)]
    sample, size = torch.zeros(1, 3), 4 * (24 + 12 + 42 + 12 + 63)
    phases = phases_of(nn.Sequential(*lower), None, False, sample, 1, "it")
    assert [18 * phase.at_nodes for phase in phases] == pytest.approx([1, 2, 9, 4, 2])
    assert [phase.down for phase in phases] == [size, 48, 48, 48, 48]
    assert [phase.up for phase in phases] == [52, 52, 48, 48, size + 8]
    assert [phase.index_row for phase in phases] == [8, 0, 0, 0, 0]
    # With as many products above the cut, which are the server's once it has the activations.
    cut = phases_of(nn.Sequential(*lower, nn.Linear(9, 12)), 5, False, sample, 1, "it")
    assert [36 * phase.at_nodes for phase in cut] == pytest.approx([1, 2, 3, 6, 4, 2])
    assert [phase.at_orchestrator for phase in cut] == pytest.approx([0, 0, 0.5, 0, 0, 0])


def one_row_left():
    x, y = np.zeros((17, 6), np.float32), np.zeros(17, np.int64)
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    nothing = np.zeros((1, LABELS), np.int64)
    return NodeData([x], [y], nothing, nothing[:, 0], [np.arange(17)])


@pytest.mark.parametrize("way", [Way(), Way(apart=True)], ids=["together", "apart"])
def test_a_batch_of_one_number_per_channel_has_no_variance_wherever_it_is_computed(way):
    build = partial(nn.Sequential, nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, LABELS))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        Run(n=1, build=build, data=one_row_left(), more={"way": way}).rounds(1)


def test_no_digits_are_lost_where_the_mean_is_large():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, 5, generator=generator) + torch.tensor([0.0, 1e3, -1e4])[:, None]
    parts = [batch_norm.statistics(part) for part in torch.split(x, [1, 20, 19])]
    total, found = batch_norm.of_all(parts)
    exact = x.double().transpose(0, 1).flatten(1)
    assert total == 200
    torch.testing.assert_close(found[0].double(), exact.mean(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found[1].double(), exact.var(1, correction=0), rtol=1e-3, atol=0)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(16), nn.Linear(16, LABELS)

    def forward(self, x):
        x = x.flatten(1)
        return self.last(self.norm(x) if x.sum() > 0 else x)


class Several(Branching):
    def forward(self, x):
        one, other = self.norm(x.flatten(1)).chunk(2, 1)
        return self.last(torch.cat([other, one], 1))


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (Several, "an operation of mlp makes several tensors"),
        (Branching, "the operations of mlp cannot be listed"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 5)),
            "mlp has layers that change their input",
        ),
    ],
)
def test_a_model_whose_forward_pass_cannot_stop_is_refused(build, told):
    with pytest.raises(InputError, match=f"visits apart: {told}.*: give together"):
        Run(build=build, more={"way": Way(apart=True)}).rounds(1)
