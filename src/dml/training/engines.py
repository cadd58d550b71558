"""The engines that train nodes locally, by name, and which one an experiment takes.

Both give the same numbers to rounding. ``loop`` trains one node after another, and any model; ``batched``
takes each step for all nodes at once, which is faster where a step of one node is little work.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 100_000
"""Numbers in a model up to which all nodes at once are faster on a CPU.

The loop's time over that of batched, perceptrons on 33 nodes (8 from 203,530 on), processor time of 1 thread
of an AMD EPYC with AVX-512, 2026-11; batches of 16 and of 64:

    64-64-10      4,810     3.6    1.9        784-64-10      50,890     1.2     1.15
    64-128-10     9,610     2.7    1.5        784-256-10    203,530     0.9     0.9
    64-256-10    19,210     2.05   1.2        784-512-10    407,050     0.8     0.9
    64-1024-10   76,810     1.05   1.0        784-1024-10   814,090     0.75    0.9

Of other models, two small convolutions (1,898 numbers) were faster too, 3.9 and 1.8. Not so, on 4 to 8 nodes
by processor time, the decoder of one block (203,264 numbers: 0.95), that of four (814,208: 0.87), the cnn
(1.9 M: 0.77) and the vit (2.7 M: 0.74).
"""


class Engine(Protocol):
    """Trains nodes' models in place, in the population; ``dml.training.trainer`` says what both share.

    Attributes:
        passes: passes that each node has made over its data, [n].
        taken: steps that it has taken within the pass that it has not finished, [n].
        batches: steps that one pass takes, [n].
    """

    passes: NDArray[np.int64]
    taken: NDArray[np.int64]
    batches: NDArray[np.int64]

    def begin_round(self, momentum: "Tensor | None" = None) -> None:
        """Optimisers start afresh, unless they are kept; SGD's momentum from this one, [n, P], if given."""

    def epoch(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One pass of the given nodes over their data; losses and accuracies, NaN for the others, [n]."""

    def steps(self, nodes: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """So many steps of each of them, on from where its last one ended; measured as by ``epoch``."""

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint between two rounds needs beside the models."""

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Goes on from what :meth:`state` returned."""


def choose(asked: str, obstacle: str | None, before: str | None, size: int, accelerator: str) -> str:
    """The engine of an experiment: by what is asked of it, never by how busy or large the machine is.

    Args:
        asked: auto, loop or batched.
        obstacle: what keeps the nodes from training at once (:func:`dml.training.config.obstacle`).
        before: the engine that made the rounds that are there, or None.
        size: numbers in a model.
        accelerator: its type, as ``cpu``.
    """
    if asked != "auto":
        return asked
    if obstacle:
        return "loop"
    # On a card, where each call costs alike, whatever can be batched is. No card has measured this yet, which
    # `benchmarks/gpu.py --parts engines` does.
    return before or ("batched" if accelerator != "cpu" or size <= SMALL else "loop")
