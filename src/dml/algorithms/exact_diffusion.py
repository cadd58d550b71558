"""Exact diffusion (Yuan, Ying, Zhao, Sayed 2019, arXiv 1702.05122): D2 with W' = (W + I) / 2.

    x(t+1) = (W + I)/2 ( x(t) + h(t) - h(t-1) )

All eigenvalues of W' are positive, so it runs on every graph, where D2 does not.
"""

from typing import TYPE_CHECKING

from dml.algorithms.d2 import D2

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def lazy(W: "csr_array") -> "csr_array":
    """(W + I) / 2."""
    from scipy.sparse import eye_array

    return ((W + eye_array(W.shape[0])) / 2).tocsr()


class ExactDiffusion(D2):
    """D2 whose mixing was made of :func:`lazy` coefficients."""
