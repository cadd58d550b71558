"""Linear models on a few random samples per node, and the gradient by its formula."""

import numpy as np
from torch import nn

from dml.data.ood import NodeData

INPUTS, LABELS = 4, 3


def linear():
    return nn.Linear(INPUTS, LABELS)


def node_data(n, seed=0, samples=5):
    rng = np.random.default_rng(seed)
    return NodeData(
        [rng.random((samples + i % 2, INPUTS), dtype=np.float32) for i in range(n)],
        [rng.integers(LABELS, size=samples + i % 2) for i in range(n)],
        np.zeros((n, LABELS), np.int64),
        np.zeros(n, np.int64),
        [np.arange(samples + i % 2) for i in range(n)],
    )


def gradient(x, row, X, Y):
    """Of the mean cross entropy of a linear model, whose row holds W [labels, inputs] and b."""
    W, b = row[: LABELS * INPUTS].reshape(LABELS, INPUTS), row[LABELS * INPUTS : LABELS * (INPUTS + 1)]
    logits = x @ W.T + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(Y)), Y] -= 1
    result = np.zeros_like(row)
    result[: LABELS * INPUTS] = (p.T @ x / len(Y)).ravel()
    result[LABELS * INPUTS : LABELS * (INPUTS + 1)] = p.mean(0)
    return result
