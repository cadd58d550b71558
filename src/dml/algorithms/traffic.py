"""What a round sends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BYTES_PER_NUMBER = 4
"""A model is sent as fp32, whatever it trains in."""


@dataclass(frozen=True)
class Traffic:
    """What was sent in one round, in bytes.

    Args:
        sent: by each node, [n].
        edges: over each edge (i, j) of the topology: i to j, j to i, [m, 2].
    """

    sent: NDArray[np.int64]
    edges: NDArray[np.int64]

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.sent + other.sent, self.edges + other.edges)
