"""Sequences of different lengths with a label in them: every part counts the same answers.

Held against plain loops over the answers, which see no padding at all.
"""

import numpy as np
import pytest
import torch
from populations import ByRound, population_of
from scipy.special import log_softmax

from dml.data.dataset import IGNORED, NEXT_TOKEN, Choices, Dataset
from dml.data.ood import NodeData, TestSets
from dml.models.registry import build_model
from dml.training.answers import ALL, Answers, counts_of
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.evaluate import Evaluator
from dml.training.loop import LoopEngine

TOKENS, LENGTH, NODES = 14, 12, 3
CHOICES = Choices(TOKENS + 2, (5, 9, 3))
"""Answers from 16 on stand for labels: there may be numbers between them and the tokens."""


def sequences(count, seed=0, length=LENGTH):
    """Coded sequences of 4 to 9 tokens, the last but one of which is a label, [count, length]."""
    rng = np.random.default_rng(seed)
    result = np.full((count, length), IGNORED, np.int32)
    for row in result:
        size = rng.integers(4, 10)
        row[:size] = rng.integers(TOKENS, size=size)
        row[size - 2] = CHOICES.first + rng.integers(len(CHOICES.tokens))
    return result


def asked(coded):
    """Inputs and answers."""
    data = Dataset(
        coded, np.zeros(len(coded)), coded, coded[:, 0], 1, NEXT_TOKEN, trigger=lambda x: x, choices=CHOICES
    )
    return data.ask(coded, data.train_y)


def node_data(sizes=(7, 5, 9), length=LENGTH):
    pairs = [asked(sequences(size, seed, length)) for seed, size in enumerate(sizes)]
    return NodeData(
        [x for x, _ in pairs],
        [y for _, y in pairs],
        np.zeros((len(sizes), 1), np.int64),
        np.zeros(len(sizes), np.int64),
        np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]),
        CHOICES,
    )


def decoder():
    return build_model("decoder", (LENGTH,), TOKENS, {"n_layer": 1})


def by_hand(module, coded):
    """Losses of all tokens after the first, and whether each label is right, one sequence after another."""
    losses, right = [], []
    for row in coded:
        own = [int(v) for v in row if v != IGNORED]
        tokens = [CHOICES.tokens[v - CHOICES.first] if v >= CHOICES.first else v for v in own]
        with torch.no_grad():
            logits = module(torch.tensor([tokens[:-1]]))[0].numpy()
        logs = log_softmax(logits, axis=1)
        losses += [-logs[k, token] for k, token in enumerate(tokens[1:])]
        (place,) = (k for k, v in enumerate(own) if v >= CHOICES.first)
        scores = [logits[place - 1, token] for token in CHOICES.tokens]
        right.append(int(np.argmax(scores)) == own[place] - CHOICES.first)
    return losses, right


def test_a_model_reads_tokens_and_the_answers_tell_labels_and_padding():
    coded = np.array([[4, 16, 2, IGNORED], [4, 6, 18, 2]], np.int32)
    x, y = asked(coded)
    assert x.tolist() == [[4, 5, 2], [4, 6, 3]]
    assert y.tolist() == [[16, 2, IGNORED], [6, 18, 2]]
    assert x.dtype == y.dtype == np.int32
    counts = counts_of(y, CHOICES)
    assert (counts.loss.tolist(), counts.judged.tolist(), counts.length.tolist()) == ([2, 3], [1, 1], [2, 3])
    answers = Answers(CHOICES)
    assert answers.targets(torch.from_numpy(y)).tolist() == [[5, 2, IGNORED], [6, 3, 2]]
    assert (answers.classes(torch.from_numpy(y)) >= 0).tolist() == [
        [True, False, False],
        [False, True, False],
    ]


def test_without_labels_and_padding_every_answer_counts():
    y = np.array([[3, 1], [2, 2]], np.uint8)
    assert counts_of(y, None) is None
    logits = torch.eye(4)[torch.tensor([[3, 0], [2, 2]])]
    assert ALL.hits(logits, torch.from_numpy(y)).tolist() == [[True, False], [True, True]]


def test_the_right_label_need_not_be_the_most_likely_token():
    logits = torch.zeros(1, 2, TOKENS)
    # Token 0 is no label; among the labels' tokens 5, 9 and 3, the second is the most likely one.
    logits[0, :, 0], logits[0, :, 9] = 5, 1
    y = torch.tensor([[CHOICES.first + 1, 0]])
    assert Answers(CHOICES).hits(logits, y).tolist() == [[True, False]]
    assert not Answers(CHOICES).hits(logits, y - 1).any()


@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_training_measures_what_plain_loops_do(engine):
    """Without a step, so that all batches of a pass see the same model."""
    data = node_data()
    population = population_of(decoder, NODES, 0, dtype=torch.float64)
    trainer = ByRound(engine, population, data, TrainingConfig(batch_size=4, lr=0.0))
    trainer.begin_round()
    loss, accuracy = trainer.epoch(np.arange(NODES))
    for node, size in enumerate((7, 5, 9)):
        losses, right = by_hand(population.modules[node], sequences(size, node))
        assert loss[node] == pytest.approx(np.mean(losses), rel=1e-6)
        assert accuracy[node] == pytest.approx(np.mean(right), rel=1e-6)


def trained(engine, data, steps=None, **flags):
    population = population_of(decoder, NODES, 0, dtype=torch.float64)
    trainer = ByRound(engine, population, data, TrainingConfig(batch_size=4, lr=0.1, **flags))
    trainer.begin_round()
    nodes = np.arange(NODES)
    measured = [trainer.epoch(nodes) if steps is None else trainer.steps(nodes, steps) for _ in range(3)]
    return population.X, np.array(measured)


@pytest.mark.parametrize("steps", [None, 3])
def test_the_engines_train_alike(steps):
    (loop, expected), (batched, found) = (trained(e, node_data(), steps) for e in (LoopEngine, BatchedEngine))
    torch.testing.assert_close(batched, loop, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], expected[:, 1])
    start = population_of(decoder, NODES, 0, dtype=torch.float64).X
    assert (loop - start).abs().max() > 1e-3


@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_padding_changes_neither_the_loss_nor_the_steps(engine):
    """The same sequences, with two more places of it."""
    short, long = node_data(length=10), node_data(length=LENGTH)
    assert long.x[0].shape[1] == short.x[0].shape[1] + 2
    (expected, measured), (found, again) = trained(engine, short), trained(engine, long)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(again, measured, rtol=1e-6)


@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_gradients_without_a_step_weigh_the_answers_that_count(engine):
    data = node_data()
    population = population_of(decoder, NODES, 0, dtype=torch.float64)
    own = ByRound(engine, population, data, TrainingConfig(batch_size=4)).engine
    weights = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    step = own.gradients(np.array([1]), own.position(1, np.array([[0, 3]])), weights)
    module = population.modules[1]
    total = 0.0
    for weight, row in zip((0.5, 2.0), sequences(5, 1)[[0, 3]], strict=True):
        x, y = asked(row[row != IGNORED][None])
        logs = module(torch.from_numpy(x))[0].log_softmax(1)
        total = (
            total - weight * logs.gather(1, Answers(CHOICES).targets(torch.from_numpy(y)).view(-1, 1)).sum()
        )
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, population.parameters(1))])
    torch.testing.assert_close(step.gradient[0, : population.trained], expected, rtol=0, atol=1e-10)
    assert ((step.losses == 0) == (torch.from_numpy(data.y[1][[0, 3]])[None] == IGNORED)).all()


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_an_evaluation_measures_what_plain_loops_do(monkeypatch, batched, at_once):
    monkeypatch.setattr("dml.training.evaluate.BUDGET", at_once * (LENGTH - 1) * TOKENS * 8)
    clean, own = sequences(23, 7), sequences(9, 8)
    commanded = own.copy()
    commanded[commanded >= CHOICES.first] = CHOICES.first
    (x, y), (ood_x, ood_y), (_, ood_own) = asked(clean), asked(commanded), asked(own)
    models = population_of(decoder, NODES, 0, dtype=torch.float64)
    sets = TestSets(x, y, ood_x, ood_y, ood_own, choices=CHOICES)
    local = {"local_test_acc": [asked(sequences(6, node)) for node in range(NODES)]}
    scores = Evaluator(models, sets, TOKENS, local, batched)()
    for node, module in enumerate(models.modules):
        losses, right = by_hand(module, clean)
        assert scores.test_loss[node] == pytest.approx(np.mean(losses), rel=1e-6)
        assert scores.test_acc[node] == pytest.approx(np.mean(right), rel=1e-6)
        losses, right = by_hand(module, commanded)
        assert scores.ood_loss[node] == pytest.approx(np.mean(losses), rel=1e-6)
        assert scores.ood_acc[node] == pytest.approx(np.mean(right), rel=1e-6)
        telling = (own > CHOICES.first).any(1)
        assert 0 < telling.sum() < len(own)
        assert scores.ood_asr[node] == pytest.approx(np.mean(np.array(right)[telling]), rel=1e-6)
        _, right = by_hand(module, sequences(6, node))
        assert scores.more["local_test_acc"][node] == pytest.approx(np.mean(right), rel=1e-6)
    labels = (clean - CHOICES.first).max(1)
    assert scores.support.tolist() == [np.bincount(labels, minlength=3).tolist()] * NODES
    assert scores.predicted.sum(1).tolist() == [len(clean)] * NODES
    np.testing.assert_allclose(scores.tp.sum(1) / len(clean), scores.test_acc, rtol=1e-6)
