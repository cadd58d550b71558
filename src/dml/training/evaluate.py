"""Evaluation of all nodes' models on the clean and the OOD test set: exact counts, not batch means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.data.ood import TestSets
from dml.population import Population

BUDGET = 256 << 20
"""Bytes of logits held at a time; nodes are taken in blocks that fit."""

CHUNK = 4096
"""Test samples a forward pass."""

Share = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Scores:
    """One evaluation.

    Args:
        test_loss, test_acc: on the clean test set, [n].
        ood_loss, ood_acc: on the OOD test set, against the label that the trigger commands, [n].
        ood_asr: the same without the images whose own label is the commanded one; where no label is
            commanded (a held-out class, rotated images) equal to ood_acc, [n].
        tp, predicted, support: on the clean test set by class: hits, predictions, images, [n, L].
        more: metrics that this experiment alone measures, by name, [n] each.
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


class Evaluator:
    """Holds the test sets where the models are, and measures all models on them.

    Args:
        population: the models.
        sets: the test sets.
        labels: number of classes L.
        local: by the name of the metric, inputs and labels of each node's own on which it is measured.
    """

    def __init__(
        self,
        population: Population,
        sets: TestSets,
        labels: int,
        local: Mapping[str, Sequence[Share]] = MappingProxyType({}),
    ) -> None:
        device, dtype = population.X.device, population.X.dtype
        self._population, self._labels = population, labels
        self._clean = len(sets.y)
        self._x = torch.from_numpy(np.concatenate([sets.x, sets.ood_x])).to(device, dtype)
        self._y = torch.from_numpy(np.concatenate([sets.y, sets.ood_y])).to(device)
        self._local = {
            name: [(torch.from_numpy(x).to(device, dtype), torch.from_numpy(y).to(device)) for x, y in shares]
            for name, shares in local.items()
        }
        self._telling = torch.from_numpy((sets.ood_own != sets.ood_y) | (not sets.commanded)).to(device)

    @torch.inference_mode()
    def __call__(self) -> Scores:
        """Measures every node's model."""
        nodes = len(self._population.modules)
        at_once = max(1, BUDGET // (len(self._y) * self._labels * self._x.element_size()))
        blocks = [
            self._block(range(start, min(start + at_once, nodes))) for start in range(0, nodes, at_once)
        ]
        loss, hits, asr, counts = (torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True))
        clean, ood = self._clean, len(self._y) - self._clean
        return Scores(
            test_loss=(loss[:, 0] / clean).astype(np.float32),
            test_acc=(hits[:, 0] / clean).astype(np.float32),
            ood_loss=(loss[:, 1] / ood).astype(np.float32),
            ood_acc=(hits[:, 1] / ood).astype(np.float32),
            ood_asr=asr.astype(np.float32),
            tp=counts[:, 0].astype(np.int32),
            predicted=counts[:, 1].astype(np.int32),
            support=counts[:, 2].astype(np.int32),
            more={name: self._own(shares) for name, shares in self._local.items()},
        )

    def _own(self, shares: list[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
        """Accuracy of each node's model on its own data, [n]."""
        hits = [(self._forward(node, x).argmax(1) == y).double().mean() for node, (x, y) in enumerate(shares)]
        accuracy: NDArray[np.float32] = torch.stack(hits).cpu().numpy().astype(np.float32)
        return accuracy

    def _block(self, nodes: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over the samples for some nodes: losses [b, 2], hits [b, 2], asr [b], counts [b, 3, L]."""
        logits = torch.stack([self._forward(node, self._x) for node in nodes])
        picked = logits.gather(2, self._y.expand(len(nodes), -1)[..., None])[..., 0]
        loss = (logits.logsumexp(2) - picked).double()
        predicted = logits.argmax(2)
        hit = predicted == self._y
        clean = slice(None, self._clean)
        ood = slice(self._clean, None)
        losses = torch.stack([loss[:, clean].sum(1), loss[:, ood].sum(1)], 1)
        hits = torch.stack([hit[:, clean].sum(1), hit[:, ood].sum(1)], 1).double()
        # Without a telling image the rate is 0/0, which is NaN: not measured.
        asr = (hit[:, ood] & self._telling).sum(1).double() / self._telling.sum()
        y = self._y[clean].expand(len(nodes), -1)
        counts = [
            self._by_class(y, hit[:, clean]),
            self._by_class(predicted[:, clean]),
            self._by_class(y),
        ]
        return losses, hits, asr, torch.stack(counts, 1)

    def _forward(self, node: int, x: Tensor) -> Tensor:
        module = self._population.modules[node]
        module.eval()
        parts = [module(chunk) for chunk in torch.split(x, CHUNK)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _by_class(self, classes: Tensor, counted: Tensor | None = None) -> Tensor:
        """How often each class occurs in each row, [b, L], among the counted entries."""
        rows = torch.arange(len(classes), device=classes.device)[:, None] * self._labels
        weights = None if counted is None else counted.flatten().double()
        flat = torch.bincount((classes + rows).flatten(), weights, minlength=len(classes) * self._labels)
        return flat.view(len(classes), self._labels).long()
