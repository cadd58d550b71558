"""Precision, recall and F1 of each class, from the counts that an experiment keeps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scores(
    tp: NDArray[np.int32], support: NDArray[np.int32], predicted: NDArray[np.int32]
) -> dict[str, NDArray[np.float64]]:
    """Computes the scores of scikit-learn's ``classification_report`` from counts.

    Args:
        tp, support, predicted: the numbers of hits, test samples and predictions of each class, [..., L].

    Returns:
        precision = tp / predicted, recall = tp / support, f1 = 2 tp / (support + predicted), each [..., L].
        An undefined score is 0 if the class occurs or is predicted, as in scikit-learn's report, and NaN for
        a class that neither occurs nor is predicted, which that report leaves out.
    """
    hits = tp.astype(np.float64)
    total = support.astype(np.float64) + predicted
    parts: dict[str, tuple[NDArray[np.float64], NDArray[Any]]] = {
        "precision": (hits, predicted),
        "recall": (hits, support),
        "f1": (2 * hits, total),
    }
    found = {}
    for name, (part, whole) in parts.items():
        value = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
        found[name] = np.where(total > 0, value, np.nan)
    return found


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the classes that occur or are predicted (macro average), [...].

    Args:
        values: one score of each class, [..., L]; NaN for a class that is left out.
    """
    known = ~np.isnan(values)
    mean: NDArray[np.float64] = np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1)
    return mean
