"""Traversal learning is centralized training: gradients, runs, labels, dropout, augmentation, batch norm.

The tolerances are those of sums in another order: 1e-12 for a gradient and 1e-9 for parameters in float64,
and 1e-6 in float32.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from virtual_batches import (
    LABELS,
    SEED,
    Run,
    Spy,
    data_of,
    deep,
    gradient,
    mlp,
    of_torch,
    plain,
    plain_batches,
)

from dml.errors import InputError
from dml.models.dropout import Dropout
from dml.population import Population, starts
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.traversal.engine import Way
from dml.traversal.parts import OrderedSum
from dml.traversal.perceptron import Gradients
from dml.traversal.plan import epoch_plan


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.Tanh(),
        nn.Linear(8, LABELS),
    )


def with_dropout() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        Dropout(0.3),
        nn.Flatten(),
        nn.Linear(48, 8),
        Dropout(0.5),
        nn.Linear(8, LABELS),
    )


def normed() -> nn.Module:
    def block(inputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()]

    return nn.Sequential(*block(1), *block(3), nn.Flatten(), nn.Linear(48, LABELS))


CUTS = {deep: 2, cnn: 3}
WAYS = [Way(apart=True)] + [Way(k, True, stay) for k in (1, 2) for stay in (False, True)]
NAMES = [f"cut={way.cut}{', labels stay' * way.labels_stay}" if way.cut else "grads" for way in WAYS]
WAYS += [Way(apart=True, three_phases=True)]
NAMES += ["legacy3"]


@pytest.mark.parametrize("build", [deep, cnn])
def test_the_gradient_of_a_batch_is_that_of_one_place(build):
    """In every mode, at every cut, and for the smaller last batch."""
    ways = [Way(), Way(apart=True)]
    ways += [
        Way(k, apart, stay) for k in range(1, CUTS[build] + 1) for apart, stay in ((0, 0), (1, 0), (1, 1))
    ]
    ways += [Way(apart=True, three_phases=True)] if build is deep else []
    for batch in (0, 6):
        expected = of_torch(build, batch)
        for way in ways:
            found = gradient(build, 4, way, torch.float64, batch)
            assert (found - expected).abs().max() <= 1e-12, way
            short = gradient(build, 4, way, torch.float32, batch).double()
            assert (short - expected).norm() <= 1e-6 * expected.norm(), way


def test_together_is_centralized_training_to_the_last_bit():
    whole = Run(build=deep).rounds(2).parameters
    for way in (Way(), Way(1), Way(2), Way(three_phases=True)):
        assert torch.equal(Run(build=deep, more={"way": way}).rounds(2).parameters, whole)


OPTIMIZERS = {
    "momentum": ({"lr": 0.1, "momentum": 0.9}, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "adam": ({"lr": 0.01, "optimizer": "adam"}, partial(torch.optim.Adam, lr=0.01)),
    "adadelta": ({"lr": 1.0, "optimizer": "adadelta"}, torch.optim.Adadelta),
}


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_passes_end_at_the_model_of_centralized_training(name, way):
    flags, optimizer = OPTIMIZERS[name]
    training = TrainingConfig(batch_size=16, epochs=3, **flags)
    expected = plain(optimizer, plain_batches(97, 16, 3), build=deep)
    run = Run(build=deep, training=training, more={"way": way}).rounds(1)
    assert (run.parameters - expected.parameters).abs().max() <= 1e-9
    together = Run(build=deep, training=training).rounds(1)
    for one, other in zip(run.told, together.told, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
        assert np.array_equal(one.accuracy, other.accuracy)
    # In float32, the same predictions.
    short, long = (
        Run(build=deep, training=training, dtype=torch.float32, more={"way": w}).rounds(1)
        for w in (way, Way())
    )
    assert (short.parameters - long.parameters).abs().max() <= (1e-6 if name == "momentum" else 1e-4)
    x = torch.from_numpy(np.concatenate(data_of(1).x))
    logits = [run.population.modules[0].eval()(x).argmax(1) for run in (short, long)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1], WAYS[2]], ids=NAMES[:3])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 10, 32, 64])
def test_it_holds_for_any_number_of_nodes_also_if_many_have_no_sample_in_a_batch(n, way):
    """The published system dies from 8 nodes on, and loses a sample if their number divides no total."""
    training = TrainingConfig(lr=0.1, batch_size=16, epochs=2)
    whole = Run(n=1, training=training).rounds(1)
    run = Run(n=n, training=training, more={"way": way}).rounds(1)
    assert (run.parameters - whole.parameters).abs().max() <= 1e-9
    assert np.isfinite(run.told[-1].loss).all()
    if n == 1 and not way.cut:
        assert torch.equal(run.parameters, whole.parameters)


def test_labels_of_a_single_kind_on_each_node_change_nothing():
    """Not how many nodes hold what decides the model, but the batches."""
    data = data_of(LABELS)
    x, y = np.concatenate(data.x), np.concatenate(data.y)
    order = np.argsort(y, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(y[order])) + 1)
    by_label = type(data)(
        [x[p] for p in parts], [y[p] for p in parts], data.label_counts, data.ood_samples, parts
    )
    run = Run(n=LABELS, data=by_label, more={"way": Way(apart=True)}).rounds(2)
    one = type(data)([x[order]], [y[order]], data.label_counts[:1], data.ood_samples[:1], [order])
    expected = plain(partial(torch.optim.SGD, lr=0.1), plain_batches(97, 16, 2), data=one)
    assert (run.parameters - expected.parameters).abs().max() <= 1e-9


def test_apart_is_a_plain_loop_that_adds_the_parts_of_nodes_in_their_order_to_the_last_bit():
    """Of torch alone, for a model whose gradients are autograd's, in float32."""
    data = data_of(7)
    run = Run(n=7, build=cnn, dtype=torch.float32, more={"way": Way(apart=True)}).rounds(2)
    module = Population(cnn, starts(1, SEED)).modules[0]
    x, y = torch.from_numpy(np.concatenate(data.x)), torch.from_numpy(np.concatenate(data.y))
    owner = np.repeat(np.arange(7), data.samples)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, fused=True)
    for batch in plain_batches(97, 16, 2):
        total = None
        for node in np.unique(owner[batch]):
            own = batch[owner[batch] == node]
            loss = functional.cross_entropy(module(x[own]), y[own], reduction="sum") / len(batch)
            parts = torch.autograd.grad(loss, list(module.parameters()))
            total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
        for parameter, part in zip(module.parameters(), total, strict=True):
            parameter.grad = part
        optimizer.step()
    assert torch.equal(run.parameters, torch.cat([p.detach().flatten() for p in module.parameters()]))


def test_the_sum_over_nodes_does_not_depend_on_the_order_in_which_they_answer():
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    nodes = [1, 2, 5, 6, 9, 11]
    answers = {
        node: [torch.randn(40, generator=generator), torch.randn(3, 5, generator=generator)] for node in nodes
    }
    sums, shuffled = [], []
    for _ in range(20):
        order = rng.permutation(nodes).tolist()
        found = OrderedSum(nodes)
        for node in order:
            own = [tensor.clone() for tensor in answers[node]]
            found.put(node, own)
            # The node uses its memory again.
            for tensor in own:
                tensor.zero_()
        sums.append(found.total())
        shuffled.append(sum(answers[node][0] for node in order))
    for found in sums[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, sums[0], strict=True))
    assert any(not torch.equal(a, shuffled[0]) for a in shuffled)
    found = OrderedSum([1, 2])
    found.put(2, [torch.ones(1)])
    for node in (2, 3):
        with pytest.raises(ValueError, match="was not asked, or has answered"):
            found.put(node, [torch.ones(1)])
    with pytest.raises(ValueError, match="node 1 has not answered"):
        found.total()


def test_sums_of_gradients_in_one_vector_are_those_of_single_tensors():
    """And the next sum begins anew, in the memory of the one before."""
    generator = torch.Generator().manual_seed(0)
    like = [torch.empty(3, 5), torch.empty(3), torch.empty(2, 3)]
    of_vectors, of_tensors, places = OrderedSum(), OrderedSum(), set()
    for nodes in ([0, 1, 4], [2], [1, 3]):
        of_vectors.begin(nodes)
        of_tensors.begin(nodes)
        # The last one answers first, and waits.
        for node in nodes[-1:] + nodes[:-1]:
            found = Gradients(like)
            found.vector.normal_(generator=generator)
            of_vectors.put(node, found)
            of_tensors.put(node, [tensor.clone() for tensor in found])
        places.add(of_vectors.total()[0].data_ptr())
        assert [*map(torch.Tensor.size, of_vectors.total())] == [*map(torch.Tensor.size, like)]
        assert all(map(torch.equal, of_vectors.total(), of_tensors.total()))
    assert len(places) == 1


def kind_of(way):
    if not way.cut:
        return "legacy3" if way.three_phases else "grads"
    return "at_node" if way.labels_stay else "at_server"


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_what_is_sent_to_a_node_and_by_it_holds_rows_of_that_node_alone(way):
    run, data, seen = Run(n=7, build=deep, more={"way": way}), data_of(7), []
    plan = epoch_plan(data.samples, 16, SEED, 0)
    run.engine.visits.nodes = [Spy(node, number, seen) for number, node in enumerate(run.engine.visits.nodes)]
    run.rounds(1)
    visits = [visit for batch in range(plan.batches) for visit in plan.visits(batch)]
    first, *others = {
        "grads": ["gradients"],
        "at_server": ["activations", "keys", "labels", "lower_gradients"],
        "at_node": ["activations", "keys", "loss_gradient", "lower_gradients"],
        "legacy3": ["outputs", "second_block", "first_block"],
    }[kind_of(way)]
    # Each visit in the order of the plan, with all messages of it.
    assert [number for number, name, _, _ in seen if name == first] == [visit.node for visit in visits]
    asked = {name for _, name, _, _ in seen} - {"begin", "sums"}
    assert asked == {first, *others}
    for node in range(7):
        own = [visit for visit in visits if visit.node == node]
        sent_and_got = {name: [m for m in seen if m[:2] == (node, name)] for name in (first, *others)}
        (begun,) = [sent for number, name, sent, _ in seen if (number, name) == (node, "begin")]
        assert begun[1].tolist() == [sample for visit in own for sample in visit.local.tolist()]
        assert begun[2] == [len(visit.local) for visit in own]
        for name, messages in sent_and_got.items():
            for visit, (_, _, sent, got) in zip(own, messages, strict=True):
                if name == "outputs":
                    assert [len(rows) for rows in got] == [len(visit.local)] * 2
                    continue
                rows = {"activations": got, "keys": got, "labels": got}.get(name, sent[0] if sent else None)
                assert name == "gradients" or len(rows) == len(visit.local), name
                if name == "keys":
                    assert rows.tolist() == data.index[node][visit.local].tolist()


@pytest.mark.parametrize("way", [Way(), *WAYS[:3]], ids=["together", *NAMES[:3]])
def test_dropout_is_drawn_by_sample_and_so_does_not_depend_on_the_nodes(way):
    whole = Run(n=1, build=with_dropout).rounds(2)
    for n in (4, 23):
        run = Run(n=n, build=with_dropout, more={"way": way}).rounds(2)
        assert (run.parameters - whole.parameters).abs().max() <= 1e-9
    # It does something, and something else in each pass.
    quiet = Run(n=1, build=with_dropout)
    for layer in quiet.population.modules[0]:
        if isinstance(layer, Dropout):
            layer._dropped = 0
    assert (quiet.rounds(2).parameters - whole.parameters).abs().max() > 1e-3


@pytest.mark.parametrize("way", [Way(), *WAYS[:3]], ids=["together", *NAMES[:3]])
def test_augmentation_is_drawn_by_sample_and_so_does_not_depend_on_the_nodes(way):
    def run(n, way, changed=True):
        data = data_of(n)
        # The last samples of the last node have a trigger, and stay as they are.
        fixed = np.append(np.zeros(n - 1, np.int64), 1)
        made = Augmentation(data.index, fixed, np.zeros(1, np.float32), SEED)
        more = {"augmentation": made} if changed else {}
        return Run(n=n, build=cnn, more={"way": way, **more}).rounds(2).parameters

    whole = run(1, Way())
    for n in (4, 23):
        assert (run(n, way) - whole).abs().max() <= 1e-9
    assert (run(1, Way(), changed=False) - whole).abs().max() > 1e-4


def test_batch_norm_takes_its_statistics_over_the_whole_batch():
    """Together in every mode; apart, whoever computes it."""
    expected = plain(partial(torch.optim.SGD, lr=0.1), plain_batches(97, 16, 2), build=normed)
    buffers = [b for b in expected.module.buffers() if b.is_floating_point()]
    for way in (Way(), Way(1), Way(1, True), Way(1, True, True), Way(apart=True), Way(2, True)):
        run = Run(build=normed, more={"way": way}).rounds(2)
        own = torch.cat([expected.parameters, *[b.flatten() for b in buffers]])
        assert (run.parameters - own).abs().max() <= 1e-9, way


@pytest.mark.parametrize(
    ("build", "k", "told"),
    [
        (deep, 3, "mode cut=3: mlp has the cuts cut=1 to cut=2"),
        (mlp, 2, "mode cut=2: mlp has the cuts cut=1$"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, LABELS)), 1, "mlp has one layer; give grads"),
        (lambda: nn.Linear(16, LABELS), 1, "mlp cannot be cut, as it is no sequence of layers"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_a_cut_that_a_model_does_not_have_is_refused(build, k, told, apart):
    with pytest.raises(InputError, match=told):
        Run(build=build, more={"way": Way(k, apart)})
