"""Evaluation of models on the clean and the OOD test set: exact counts, not batch means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from dml.data.ood import TestSets
from dml.population import Population
from dml.training import gradients
from dml.training.tensors import arranging, computing, inputs

BUDGET = 256 << 20
"""Bytes of logits held at a time; nodes, and then samples, are taken in blocks that fit."""

CHUNK = 4096
"""Answers that a forward pass gives: test samples, or their tokens."""

CHUNK_INPUTS = 1 << 20
"""Numbers that a forward pass sees, so that the features of large images stay small."""

MEAN_MODEL = "mean_model"
"""The name of the average of all nodes' models among the single models."""

Share = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Scores:
    """One evaluation; an answer is the label of a sample, or the next token at one place of it.

    Args:
        test_loss, test_acc: on the clean test set, [n].
        ood_loss, ood_acc: on the OOD test set, against the answers that the trigger commands, [n]; NaN
            without an OOD sample.
        ood_asr: the same without the answers that would be the same without the trigger; equal to ood_acc if
            none is commanded (a held-out class, rotated images), [n].
        tp, predicted, support: on the clean test set by class: hits, predictions, answers, [n, L].
        more: further metrics by name, [n] each: ``consensus_distance``, and those that only some experiments
            have.
        walks: by metric, one value for each model that belongs to no node, [R]; empty without such models.
        singles: by the name of a single model (``mean_model``), one number by each of the names of losses and
            accuracies above.
    """

    test_loss: NDArray[np.float32]
    test_acc: NDArray[np.float32]
    ood_loss: NDArray[np.float32]
    ood_acc: NDArray[np.float32]
    ood_asr: NDArray[np.float32]
    tp: NDArray[np.int32]
    predicted: NDArray[np.int32]
    support: NDArray[np.int32]
    more: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    walks: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    singles: dict[str, dict[str, float]] = field(default_factory=dict)


class Evaluator:
    """Holds the test sets where the models are, and measures models on them.

    Args:
        population: the models.
        sets: the test sets.
        classes: how many answers there are to choose from, L.
        local: by the name of the metric, the inputs and answers of each node's own on which it is measured.
        batched: all models of a block see the samples at once, as in the batched engine, which pays in the
            same cases.
        precision: of the forward passes, as in training.
    """

    def __init__(
        self,
        population: Population,
        sets: TestSets,
        classes: int,
        local: Mapping[str, Sequence[Share]] = MappingProxyType({}),
        batched: bool = False,
        precision: str = "fp32",
    ) -> None:
        device = population.X.device
        self._population, self._classes = population, classes
        self._clean = len(sets.y)
        self._computing = computing(precision, device)
        self._arrange = arranging(population.modules[0], precision, device)
        self._outputs = gradients.outputs_of(population.modules[0], population.tensors) if batched else None
        self._x = inputs(np.concatenate([sets.x, sets.ood_x]), population.X)
        y = torch.from_numpy(np.concatenate([sets.y, sets.ood_y])).to(device)
        telling = torch.from_numpy((sets.ood_own != sets.ood_y) | (not sets.commanded)).to(device)
        # One row per sample, one column per answer.
        self._answers = y[0].numel()
        self._y, self._telling = y.view(-1, self._answers), telling.reshape(-1, self._answers)
        self._local = {
            name: [(inputs(x, population.X), torch.from_numpy(y).to(device)) for x, y in shares]
            for name, shares in local.items()
        }

    @torch.inference_mode()
    def __call__(
        self, rows: range | None = None, singles: Mapping[str, Tensor] = MappingProxyType({})
    ) -> Scores:
        """Measures the nodes' models, their average, and further models.

        Args:
            rows: of X that are the nodes' models, one after another; by default all.
            singles: further models by name, rows like those of X, [P or size].
        """
        rows = range(len(self._population.modules)) if rows is None else rows
        samples = len(self._y)
        one = self._answers * self._classes * self._population.X.element_size()
        at_once = max(1, BUDGET // (samples * one))
        if self._outputs:
            at_once = min(at_once, gradients.block(self._population.X))
        few = max(1, min(samples, BUDGET // one))
        blocks = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        models = {MEAN_MODEL: self._population.X[rows.start : rows.stop].mean(0), **singles}
        sums = [self._block(partial(self._logits, block), few) for block in blocks]
        sums += [self._block(self._single(model), few) for model in models.values()]
        loss, hits, asr, counts = (torch.cat(parts).cpu().numpy() for parts in zip(*sums, strict=True))
        clean, ood = self._clean * self._answers, (samples - self._clean) * self._answers
        # Without an OOD sample, or an answer that tells, the mean is 0/0, which is NaN: not measured.
        with np.errstate(invalid="ignore"):
            means = {
                "test_loss": loss[:, 0] / clean,
                "test_acc": hits[:, 0] / clean,
                "ood_loss": loss[:, 1] / np.float64(ood),
                "ood_acc": hits[:, 1] / np.float64(ood),
                "ood_asr": asr / np.float64(self._telling.sum().item()),
            }
        scores: dict[str, Any] = {name: values.astype(np.float32) for name, values in means.items()}
        # The single models come last.
        n = len(rows)
        return Scores(
            **{name: values[:n] for name, values in scores.items()},
            tp=counts[:n, 0].astype(np.int32),
            predicted=counts[:n, 1].astype(np.int32),
            support=counts[:n, 2].astype(np.int32),
            more={"consensus_distance": self._population.consensus_distance(rows)}
            | {name: self._own(rows, shares) for name, shares in self._local.items()},
            singles={
                model: {name: float(values[n + k]) for name, values in scores.items()}
                for k, model in enumerate(models)
            },
        )

    def _own(self, rows: range, shares: list[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
        """Accuracy of each node's model on its own data, [n]."""
        hits = [
            (self._forward(row, x).argmax(-1) == y).double().mean()
            for row, (x, y) in zip(rows, shares, strict=True)
        ]
        accuracy: NDArray[np.float32] = torch.stack(hits).cpu().numpy().astype(np.float32)
        return accuracy

    def _block(self, logits: Callable[[Tensor], Tensor], few: int) -> list[Tensor]:
        """The sums of :meth:`_sums` over all samples, ``few`` at a time."""
        parts = [self._sums(logits, start, start + few) for start in range(0, len(self._y), few)]
        return [torch.stack(of_samples).sum(0) for of_samples in zip(*parts, strict=True)]

    def _sums(
        self, logits_of: Callable[[Tensor], Tensor], start: int, stop: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over some samples for the b models whose logits these are.

        Returns:
            Losses [b, 2] and hits [b, 2] on the clean and the OOD test set, telling hits [b], and hits,
            predictions and answers by class on the clean one, [b, 3, L].
        """
        y = self._y[start:stop].long()
        logits = logits_of(self._x[start:stop]).to(self._population.X.dtype)
        b = len(logits)
        logits = logits.view(b, *y.shape, self._classes)
        picked = logits.gather(3, y.expand(b, -1, -1)[..., None])[..., 0]
        loss = (logits.logsumexp(3) - picked).double()
        predicted = logits.argmax(3)
        hit = predicted == y
        cut = min(max(self._clean - start, 0), len(y))
        clean, ood = slice(None, cut), slice(cut, None)
        telling = self._telling[max(start - self._clean, 0) : max(stop - self._clean, 0)]
        losses = torch.stack([loss[:, part].flatten(1).sum(1) for part in (clean, ood)], 1)
        hits = torch.stack([hit[:, part].flatten(1).sum(1) for part in (clean, ood)], 1).double()
        asr = (hit[:, ood] & telling).flatten(1).sum(1).double()
        own = y[clean].expand(b, -1, -1)
        counts = [
            self._by_class(own, hit[:, clean]),
            self._by_class(predicted[:, clean]),
            self._by_class(own),
        ]
        return losses, hits, asr, torch.stack(counts, 1)

    def _logits(self, rows: range, x: Tensor) -> Tensor:
        """What the models of these rows say of the samples, [b, samples, ...]."""
        if self._outputs is None:
            return torch.stack([self._forward(row, x) for row in rows])
        self._population.modules[0].eval()
        models = self._population.X[rows.start : rows.stop]
        chunk = max(1, min(CHUNK // self._answers, CHUNK_INPUTS // x[0].numel()) // len(rows))
        with self._computing:
            return torch.cat([self._outputs(models, part) for part in torch.split(x, chunk)], 1)

    def _single(self, row: Tensor) -> Callable[[Tensor], Tensor]:
        """What one model says of samples, [1, samples, ...].

        Its trained parameters and float buffers are those of the row; the rest is that of the first module.
        """
        module = self._population.modules[0]
        module.eval()
        model = partial(functional_call, module, self._population.named(row))
        return lambda x: self._in_chunks(model, x)[None]

    def _forward(self, row: int, x: Tensor) -> Tensor:
        module = self._population.modules[row]
        module.eval()
        return self._in_chunks(module, x)

    def _in_chunks(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        chunk = max(1, min(CHUNK // self._answers, CHUNK_INPUTS // x[0].numel()))
        with self._computing:
            parts = [model(self._arrange(part)) for part in torch.split(x, chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _by_class(self, classes: Tensor, counted: Tensor | None = None) -> Tensor:
        """How often each class occurs in each row, [b, L], among the counted entries."""
        times = classes.new_zeros(len(classes), self._classes)
        weights = torch.ones_like(classes) if counted is None else counted.long()
        # Whole numbers: the same in whatever order. A bincount would wait for the device to tell the largest.
        return times.scatter_add_(1, classes.flatten(1), weights.flatten(1))
