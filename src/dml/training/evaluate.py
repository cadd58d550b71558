"""Evaluation of all nodes' models on the clean and the OOD test set: exact counts, not batch means."""

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
"""Answers a forward pass gives: test samples, or their tokens."""

CHUNK_INPUTS = 1 << 20
"""Numbers a forward pass sees, so that the features of large images stay small."""

Share = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Scores:
    """One evaluation; an answer is the label of a sample, or the next token at one place of it.

    Args:
        test_loss, test_acc: on the clean test set, [n].
        ood_loss, ood_acc: on the OOD test set, against the answers that the trigger commands, [n]; NaN
            where there is no OOD sample.
        ood_asr: the same without the answers that would be the same without the trigger; where none is
            commanded (a held-out class, rotated images) equal to ood_acc, [n].
        tp, predicted, support: on the clean test set by class: hits, predictions, answers, [n, L].
        more: further metrics by name, [n] each: ``consensus_distance``, and those that this experiment
            alone measures.
        mean_model: of the model that is the average over the nodes, one number each by the names above.
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
    mean_model: dict[str, float] = field(default_factory=dict)


class Evaluator:
    """Holds the test sets where the models are, and measures all models on them.

    Args:
        population: the models.
        sets: the test sets.
        classes: how many answers there are to choose from, L.
        local: by the name of the metric, inputs and answers of each node's own on which it is measured.
        batched: all models of a block see the samples at once, as in the batched engine, which pays where
            it does.
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
        # One row a sample, one column an answer.
        self._answers = y[0].numel()
        self._y, self._telling = y.view(-1, self._answers), telling.reshape(-1, self._answers)
        self._local = {
            name: [(inputs(x, population.X), torch.from_numpy(y).to(device)) for x, y in shares]
            for name, shares in local.items()
        }

    @torch.inference_mode()
    def __call__(self) -> Scores:
        """Measures every node's model, and their average."""
        nodes, samples = len(self._population.modules), len(self._y)
        one = self._answers * self._classes * self._population.X.element_size()
        at_once = max(1, BUDGET // (samples * one))
        if self._outputs:
            at_once = min(at_once, gradients.block(self._population.X))
        few = max(1, min(samples, BUDGET // one))
        blocks = [range(start, min(start + at_once, nodes)) for start in range(0, nodes, at_once)]
        sums = [self._block(partial(self._logits, block), few) for block in blocks]
        sums.append(self._block(self._mean_model(), few))
        loss, hits, asr, counts = (torch.cat(parts).cpu().numpy() for parts in zip(*sums, strict=True))
        clean, ood = self._clean * self._answers, (samples - self._clean) * self._answers
        # Without an OOD sample, or a telling answer, the mean is 0/0, which is NaN: not measured.
        with np.errstate(invalid="ignore"):
            means = {
                "test_loss": loss[:, 0] / clean,
                "test_acc": hits[:, 0] / clean,
                "ood_loss": loss[:, 1] / np.float64(ood),
                "ood_acc": hits[:, 1] / np.float64(ood),
                "ood_asr": asr / np.float64(self._telling.sum().item()),
            }
        scores = {name: values.astype(np.float32) for name, values in means.items()}
        # The last row is the mean model's.
        return Scores(
            **{name: values[:-1] for name, values in scores.items()},
            tp=counts[:-1, 0].astype(np.int32),
            predicted=counts[:-1, 1].astype(np.int32),
            support=counts[:-1, 2].astype(np.int32),
            more={"consensus_distance": self._population.consensus_distance()}
            | {name: self._own(shares) for name, shares in self._local.items()},
            mean_model={name: float(values[-1]) for name, values in scores.items()},
        )

    def _own(self, shares: list[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
        """Accuracy of each node's model on its own data, [n]."""
        hits = [
            (self._forward(node, x).argmax(-1) == y).double().mean() for node, (x, y) in enumerate(shares)
        ]
        accuracy: NDArray[np.float32] = torch.stack(hits).cpu().numpy().astype(np.float32)
        return accuracy

    def _block(self, logits: Callable[[Tensor], Tensor], few: int) -> list[Tensor]:
        """The sums of :meth:`_sums` over all samples, so many at a time."""
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

    def _logits(self, nodes: range, x: Tensor) -> Tensor:
        """What these nodes' models say of the samples, [b, samples, ..]."""
        if self._outputs is None:
            return torch.stack([self._forward(node, x) for node in nodes])
        self._population.modules[0].eval()
        models = self._population.X[nodes.start : nodes.stop]
        chunk = max(1, min(CHUNK // self._answers, CHUNK_INPUTS // x[0].numel()) // len(nodes))
        with self._computing:
            return torch.cat([self._outputs(models, part) for part in torch.split(x, chunk)], 1)

    def _mean_model(self) -> Callable[[Tensor], Tensor]:
        """What the average of all models says of samples, [1, samples, ..].

        Parameters and float buffers are averaged; integer buffers are node 0's.
        """
        module = self._population.modules[0]
        module.eval()
        model = partial(functional_call, module, self._population.named(self._population.X.mean(0)))
        return lambda x: self._in_chunks(model, x)[None]

    def _forward(self, node: int, x: Tensor) -> Tensor:
        module = self._population.modules[node]
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
