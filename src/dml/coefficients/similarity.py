"""The similarity of two nodes' models that the ``_sim`` strategies use (code of arXiv 2505.11760).

For a parameter tensor w of shape [R, K, ...], cosines are taken along the second dimension, one for each
place (r, ...) in the other dimensions: one per row of a matrix, or over the input channels of a convolution.
A vector counts as a column [R, 1], so its cosines are products of signs; a number counts as [1, 1]. Then

    similarity(i, j) = mean over tensors of the mean over places of cos(w_i[r, :, ...], w_j[r, :, ...])

The cosine of a vector of zeros with any vector is 0. With u = w / |w| along K, the mean over a tensor's
places is the dot product of u_i and u_j, flattened, divided by the number of places.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK_BYTES = 4 << 20
"""Bytes that are normalised or multiplied at once: few compared to X, and no more than a shared cache."""


@torch.no_grad()
def cosine_similarity(
    models: Callable[[slice], Tensor],
    tensors: Sequence[tuple[int, torch.Size]],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The similarity of each pair of models, in double precision.

    Args:
        models: returns the given columns of all models, [rows, columns].
        tensors: the first column and the shape of each parameter tensor, as in ``Population.tensors``.
        first: the row of one model of each pair, [k].
        second: the row of the other model, [k].

    Returns:
        Values in [-1, 1], [k]; NaN if a model is not finite.
    """
    n, device = models(slice(0, 1)).shape[0], models(slice(0, 1)).device
    # Similarity is symmetric, so a pair that occurs in both orders is computed once.
    pairs, back = np.unique(np.minimum(first, second) * n + np.maximum(first, second), return_inverse=True)
    i, j = (torch.from_numpy(rows).to(device) for rows in np.divmod(pairs, n))
    result = torch.zeros(len(pairs), dtype=torch.float64, device=device)
    filled = [(start, shape) for start, shape in tensors if shape.numel()]
    for start, shape in filled:
        rows, width, rest = _as_rows(shape)
        row = width * rest
        share = 1 / (rows * rest * len(filled))
        step = max(1, CHUNK_BYTES // (8 * n * row))
        for top in range(0, rows, step):
            count = min(step, rows - top)
            columns = models(slice(start + top * row, start + (top + count) * row))
            w = columns.double().reshape(n, count, width, rest)
            length = torch.linalg.vector_norm(w, dim=2, keepdim=True)
            u = torch.where(length == 0, 0.0, w / length).reshape(n, -1)
            for part in torch.split(torch.arange(len(pairs), device=device), _at_once(u)):
                result[part] += (u[i[part]] * u[j[part]]).sum(1) * share
    return result.cpu().numpy()[back]


def _as_rows(shape: torch.Size) -> tuple[int, int, int]:
    """A tensor's shape as [R, K, rest]."""
    rows, width, *rest = (*shape, 1, 1)[: max(2, len(shape))]
    return rows, width, math.prod(rest)


def _at_once(u: Tensor) -> int:
    return max(1, CHUNK_BYTES // (8 * u.shape[1]))
