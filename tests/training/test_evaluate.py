"""Evaluation, compared with scikit-learn on the same logits."""

import functools

import numpy as np
import pytest
import torch
from populations import population_of
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from dml.data.ood import TestSets
from dml.models.registry import build_model
from dml.training import evaluate, gradients
from dml.training.evaluate import Evaluator

LABELS = 4
NODES = 5


def build():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, LABELS)
    )


def sets(clean=53, ood=22, many_to_one=True):
    """Random images; no clean one is of class 2."""
    rng = np.random.default_rng(0)
    own = rng.integers(LABELS, size=ood)
    return TestSets(
        rng.normal(size=(clean, 1, 2, 3)).astype(np.float32),
        rng.choice([0, 1, 3], size=clean),
        rng.normal(size=(ood, 1, 2, 3)).astype(np.float32),
        np.zeros_like(own) if many_to_one else (own + 1) % LABELS,
        own,
    )


def population(dtype=torch.float64):
    result = population_of(build, NODES, 0, dtype=dtype)
    with torch.no_grad():
        # Large weights, so that nodes differ and some never predict some class.
        result.X[:, : result.size] *= 3
        for module in result.modules:
            module[2].running_var.fill_(1)
    return result


def logits(module, x):
    module.eval()
    with torch.no_grad():
        return module(torch.from_numpy(x).double()).numpy()


def cross_entropy(y, of):
    """scikit-learn's log_loss clips the probabilities."""
    return -log_softmax(of, axis=1)[np.arange(len(y)), y].mean()


@pytest.mark.parametrize("chunk", [7, 25, 75, 4096])
@pytest.mark.parametrize("nodes_at_once", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("many_to_one", [True, False])
def test_scores_equal_scikit_learns(monkeypatch, chunk, nodes_at_once, many_to_one):
    models, test = population(), sets(many_to_one=many_to_one)
    monkeypatch.setattr(evaluate, "CHUNK", chunk)
    monkeypatch.setattr(evaluate, "BUDGET", nodes_at_once * (53 + 22) * LABELS * 8)
    scores = Evaluator(models, test, LABELS)()
    classes = np.arange(LABELS)
    for node, module in enumerate(models.modules):
        clean, ood = logits(module, test.x), logits(module, test.ood_x)
        guess, hits = clean.argmax(1), ood.argmax(1)
        assert scores.test_acc[node] == np.float32(accuracy_score(test.y, guess))
        assert scores.ood_acc[node] == np.float32(accuracy_score(test.ood_y, hits))
        np.testing.assert_allclose(scores.test_loss[node], cross_entropy(test.y, clean), rtol=1e-6)
        np.testing.assert_allclose(scores.ood_loss[node], cross_entropy(test.ood_y, ood), rtol=1e-6)
        confusion = confusion_matrix(test.y, guess, labels=classes)
        assert scores.tp[node].tolist() == confusion.diagonal().tolist()
        assert scores.support[node].tolist() == confusion.sum(1).tolist()
        assert scores.predicted[node].tolist() == confusion.sum(0).tolist()
        telling = [k for k in range(len(hits)) if test.ood_own[k] != test.ood_y[k]]
        assert scores.ood_asr[node] == np.float32(
            sum(hits[k] == test.ood_y[k] for k in telling) / len(telling)
        )
    assert scores.support[:, 2].tolist() == [0] * NODES
    assert (scores.predicted == 0).any()


@pytest.mark.parametrize("chunk", [7, 4096])
@pytest.mark.parametrize("samples_at_once", [0.2, 1, 3.5, 8, 24, 60, 1000])
def test_tokens_are_counted_one_by_one_whatever_fits_into_memory(monkeypatch, chunk, samples_at_once):
    """17 clean and 5 triggered sequences, 8 answers each of 6 tokens; the trigger made some of them 2."""
    rng = np.random.default_rng(0)
    x = rng.integers(6, size=(22, 8)).astype(np.uint8)
    y = rng.integers(5, size=(22, 8)).astype(np.uint8)
    own = y[17:].copy()
    y[17:, 4:] = 2
    test = TestSets(x[:17], y[:17], x[17:], y[17:], own)
    models = population_of(lambda: nn.Sequential(nn.Embedding(6, 6)), 3, 0, dtype=torch.float64)
    for module in models.modules:
        # nn.Embedding takes no uint8, as the decoder does.
        module[0].register_forward_pre_hook(lambda _, args: (args[0].long(),))
    monkeypatch.setattr(evaluate, "CHUNK", chunk)
    monkeypatch.setattr(evaluate, "BUDGET", int(samples_at_once * 8 * 6 * 8))
    local = [(x[5 * node : 5 * node + 4 + node], y[5 * node : 5 * node + 4 + node]) for node in range(3)]
    scores = Evaluator(models, test, 6, {"own": local})()
    for node in range(3):
        table = models.X[node, :36].view(6, 6).numpy()
        share, answers = local[node]
        assert scores.more["own"][node] == np.float32((table[share].argmax(-1) == answers).mean())
        losses = {"test": [], "ood": []}
        hits, telling = {"test": [], "ood": []}, []
        tp, predicted, support = np.zeros((3, 6), int)
        for sample in range(22):
            kind = "test" if sample < 17 else "ood"
            for place in range(8):
                row, answer = table[x[sample, place]], y[sample, place]
                losses[kind].append(-log_softmax(row)[answer])
                hits[kind].append(row.argmax() == answer)
                if kind == "test":
                    support[answer] += 1
                    predicted[row.argmax()] += 1
                    tp[answer] += row.argmax() == answer
                elif own[sample - 17, place] != answer:
                    telling.append(row.argmax() == 2)
        for kind in ("test", "ood"):
            np.testing.assert_allclose(
                getattr(scores, f"{kind}_loss")[node], np.mean(losses[kind]), rtol=1e-6
            )
            assert getattr(scores, f"{kind}_acc")[node] == np.float32(np.mean(hits[kind]))
        assert 0 < len(telling) < 5 * 4
        assert scores.ood_asr[node] == np.float32(np.mean(telling))
        assert scores.tp[node].tolist() == tp.tolist()
        assert scores.predicted[node].tolist() == predicted.tolist()
        assert scores.support[node].tolist() == support.tolist()


def test_no_more_logits_than_the_budget_are_held(monkeypatch):
    """A node's own logits alone would be 22 x 8 x 6 numbers; only two sequences' worth is allowed."""
    test = TestSets(*(np.zeros((k, 8), np.uint8) for k in (17, 17, 5, 5, 5)))
    models = population_of(lambda: nn.Embedding(6, 6), 3, 0)
    monkeypatch.setattr(evaluate, "BUDGET", 2 * 8 * 6 * 4)
    held = []
    stack = torch.stack

    def watch(tensors, *args):
        result = stack(tensors, *args)
        held.append(result.nbytes if result.dtype == torch.float32 else 0)
        return result

    monkeypatch.setattr(evaluate.torch, "stack", watch)
    for module in models.modules:
        module.register_forward_pre_hook(lambda _, args: (args[0].long(),))
    Evaluator(models, test, 6)()
    assert max(held) == evaluate.BUDGET


def test_without_an_ood_sample_nothing_is_measured_on_them():
    test = sets()
    none = TestSets(test.x, test.y, test.ood_x[:0], test.ood_y[:0], test.ood_own[:0])
    scores, whole = Evaluator(population(), none, LABELS)(), Evaluator(population(), test, LABELS)()
    assert np.isnan([scores.ood_loss, scores.ood_acc, scores.ood_asr]).all()
    assert np.array_equal(scores.tp, whole.tp)


def test_precision_recall_and_f1_follow_from_the_counts():
    models, test = population(), sets()
    scores = Evaluator(models, test, LABELS)()
    guess = logits(models.modules[1], test.x).argmax(1)
    report = classification_report(
        test.y, guess, labels=range(LABELS), output_dict=True, zero_division=np.nan
    )
    tp, predicted, support = (a[1].astype(float) for a in (scores.tp, scores.predicted, scores.support))
    with np.errstate(invalid="ignore"):
        found = tp / predicted, tp / support
    for label in range(LABELS):
        row = report[str(label)]
        np.testing.assert_allclose([f[label] for f in found], [row["precision"], row["recall"]], rtol=1e-15)
        assert row["support"] == support[label]


def test_the_attack_rate_leaves_out_images_whose_own_label_is_the_target():
    # Images that show their own label, and a model that reads it off: untouched by the trigger, it still
    # "hits" the target 0 wherever that is the image's own label.
    def reader():
        model = nn.Sequential(nn.Flatten(), nn.Linear(LABELS, LABELS, bias=False))
        nn.init.eye_(model[1].weight)
        return model

    own = np.array([0, 0, 0, 1, 2, 3, 1, 2])
    x = np.eye(LABELS, dtype=np.float32)[own].reshape(-1, 1, 1, LABELS)
    scores = Evaluator(population_of(reader, 2, 0), TestSets(x, own, x, np.zeros(8, int), own), LABELS)()
    assert scores.test_acc.tolist() == [1, 1]
    assert scores.ood_acc.tolist() == [3 / 8, 3 / 8]
    assert scores.ood_asr.tolist() == [0, 0]


def test_without_a_telling_image_the_attack_rate_is_not_measured():
    test = sets()
    alike = TestSets(test.x, test.y, test.ood_x, test.ood_y, test.ood_y)
    scores = Evaluator(population(), alike, LABELS)()
    assert np.isnan(scores.ood_asr).all()
    assert np.isfinite(scores.ood_acc).all()


def test_evaluation_changes_nothing_and_repeats_itself():
    # Dropout is off and batch statistics stand still, although training left the modules in training mode.
    models = population(torch.float32)
    for module in models.modules:
        module.train()
    before, counters = models.X.clone(), models.buffers()
    evaluator = Evaluator(models, sets(), LABELS)
    first, again = evaluator(), evaluator()
    assert torch.equal(models.X, before)
    assert np.array_equal(models.buffers(), counters)
    for name in vars(first):
        np.testing.assert_equal(getattr(first, name), getattr(again, name), name)


def test_a_model_with_nan_weights_has_a_nan_loss_and_spoils_no_other():
    models, test = population(), sets()
    sound = Evaluator(models, test, LABELS)()
    with torch.no_grad():
        models.X[2] = float("nan")
    scores = Evaluator(models, test, LABELS)()
    assert np.isnan(scores.test_loss).tolist() == [False, False, True, False, False]
    others = [0, 1, 3, 4]
    assert np.array_equal(scores.test_loss[others], sound.test_loss[others])
    assert np.array_equal(scores.tp[others], sound.tp[others])


@pytest.mark.parametrize("block_bytes", [1, 2 << 20])
@pytest.mark.parametrize("name", ["mlp", "decoder"])
def test_all_models_at_once_measure_the_same(monkeypatch, name, block_bytes):
    """In blocks of one node and of all, and of some samples."""
    monkeypatch.setitem(gradients.BLOCK, "cpu", block_bytes)
    monkeypatch.setattr(evaluate, "CHUNK", 40)
    rng = np.random.default_rng(0)
    if name == "mlp":
        build = functools.partial(build_model, "mlp", (1, 2, 3), LABELS, {})
        test_sets, classes = sets(), LABELS
    else:
        tokens = rng.integers(14, size=(20, 7)).astype(np.uint8)
        build = functools.partial(build_model, "decoder", (6,), 14, {"n_layer": 1})
        x, y, own = tokens[:, :6], tokens[:, 1:], rng.integers(14, size=(8, 6)).astype(np.uint8)
        test_sets = TestSets(x[:12], y[:12], x[12:], y[12:], own)
        classes = 14
    models = population_of(build, NODES, 0, dtype=torch.float64)
    one, all_ = (Evaluator(models, test_sets, classes, batched=batched)() for batched in (False, True))
    for score in ("test_loss", "ood_loss"):
        np.testing.assert_allclose(getattr(one, score), getattr(all_, score), rtol=1e-6)
    for score in ("test_acc", "ood_acc", "ood_asr", "tp", "predicted", "support"):
        np.testing.assert_array_equal(getattr(one, score), getattr(all_, score))


class Counting(nn.Module):
    """A model of all kinds of tensors: its answer also depends on an integer buffer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, LABELS)
        self.register_buffer("favourite", torch.tensor(0))

    def forward(self, x):
        return self.last(self.norm(x.flatten(1))) + 5 * functional.one_hot(self.favourite, LABELS)


@pytest.mark.parametrize("budget", [1, 256 << 20])
def test_the_mean_model_is_the_average_of_all_models_and_node_0s_counters(monkeypatch, budget):
    """Held against a model made from the averages of all nodes' tensors."""
    monkeypatch.setattr(evaluate, "BUDGET", budget)
    models, test = population_of(Counting, NODES, 0, dtype=torch.float64), sets()
    generator = torch.Generator().manual_seed(0)
    mean = Counting().double()
    with torch.no_grad():
        models.X[:, : models.size] = torch.rand(NODES, models.size, generator=generator, dtype=torch.float64)
        for node, module in enumerate(models.modules):
            module.favourite.fill_((node + 1) % LABELS)
        states = [module.state_dict() for module in models.modules]
        average = {
            name: torch.stack([state[name] for state in states]).mean(0)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in states[0].items()
        }
    mean.load_state_dict(average)
    assert mean.favourite == 1
    scores = Evaluator(models, test, LABELS)()
    clean, ood = logits(mean, test.x), logits(mean, test.ood_x)
    found = scores.singles["mean_model"]
    assert found["test_acc"] == np.float32(accuracy_score(test.y, clean.argmax(1)))
    assert found["ood_acc"] == np.float32(accuracy_score(test.ood_y, ood.argmax(1)))
    telling = test.ood_own != test.ood_y
    assert found["ood_asr"] == np.float32(np.mean((ood.argmax(1) == test.ood_y)[telling]))
    assert found["test_loss"] == pytest.approx(cross_entropy(test.y, clean), rel=1e-6)
    assert found["ood_loss"] == pytest.approx(cross_entropy(test.ood_y, ood), rel=1e-6)
    # It is no node's own.
    assert found["test_loss"] not in scores.test_loss


@pytest.mark.parametrize("batched", [False, True])
def test_where_all_nodes_hold_one_model_the_mean_model_is_that(batched):
    build = functools.partial(build_model, "mlp", (1, 2, 3), LABELS, {})
    models = population_of(build, 4, 0, same=True)
    scores = Evaluator(models, sets(), LABELS, batched=batched)()
    for name, value in scores.singles["mean_model"].items():
        np.testing.assert_allclose(getattr(scores, name), value, rtol=1e-6)


def test_without_an_ood_sample_the_mean_model_has_no_ood_accuracy_either():
    test = sets()
    none = TestSets(test.x, test.y, test.ood_x[:0], test.ood_y[:0], test.ood_own[:0])
    found = Evaluator(population(), none, LABELS)().singles["mean_model"]
    assert np.isnan([found["ood_loss"], found["ood_acc"], found["ood_asr"]]).all()
    assert np.isfinite(found["test_acc"])


class LargeTensors(TorchDispatchMode):
    """Counts the new pieces of memory of so many bytes or more."""

    def __init__(self, size):
        super().__init__()
        self.size, self.made, self.kept = size, set(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() >= self.size:
            self.made.add(result.untyped_storage().data_ptr())
            self.kept.append(result)
        return result


def test_the_mean_model_takes_one_row_of_memory():
    models = population_of(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2000), nn.Linear(2000, LABELS)), 5, 0
    )
    evaluator, x = Evaluator(models, sets(), LABELS), torch.zeros(2, 1, 2, 3)
    before = models.X.clone()
    with torch.no_grad(), LargeTensors(4 * models.X.shape[1] // 2) as watch:
        evaluator._single(models.X.mean(0))(x)
    assert len(watch.made - {models.X.untyped_storage().data_ptr()}) == 1
    assert torch.equal(models.X, before)
    models.check_views()
