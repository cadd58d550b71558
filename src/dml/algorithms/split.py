"""Split learning: nodes train one model in turn, each the layers below a cut, with a server above it.

Gupta and Raskar 2018, arXiv 1810.06060. The model x is cut into a lower part l and an upper part u. The lower
part goes from node to node, in the order of their numbers; the upper part stays at the server. A node passes
once over its own samples, whose batches b are of this node alone:

    1. a = l(b)                           the node sends a, and its labels
    2. u <- u - lr du,  e = dL/da         the server, L being the mean loss over b; it returns e
    3. l <- l - lr dl, by e               the node; after its last batch, it sends l to the next node

Steps 2 and 3 are one step of the whole model on b, by any optimiser: the memory of the upper part stays at
the server, and that of the lower part goes along with it. So training differs from
:mod:`dml.algorithms.centralized` by its batches alone. A round is ``--epochs`` turns of all nodes.

Plain form: ``tests/traversal/test_split.py``.
"""

import re
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from dml.algorithms.algorithm import Algorithm
from dml.algorithms.one_model import DEFAULTS, UNREAD, one_row, requires
from dml.algorithms.server_at_node import ServerAtNode, admits
from dml.errors import InputError, one_line
from dml.traversal.own_batches import own_batches
from dml.traversal.plan import Plans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dml.training.config import TrainingConfig

_CUT = re.compile(r"cut=(half|[1-9]\d{0,5})")


class CutOptions(ServerAtNode):
    """Where the model is cut; for algorithms whose nodes change the lower part themselves."""

    side_by_side: ClassVar[bool] = False
    """All nodes train at the same time, each a lower part of its own, and not one after another."""

    lossy_because: ClassVar[str]
    """Why training is not equal to centralized training."""

    mode: str = Field(
        "cut=half",
        description="the cut of the model: behind its first K layers with parameters (cut=K), or behind half "
        "of them (cut=half)",
    )

    @field_validator("mode")
    @classmethod
    def _known(cls, text: str) -> str:
        if not _CUT.fullmatch(text):
            raise ValueError(f"{one_line(text)} is not cut=half, or cut=K with K of at least 1")
        return text

    @property
    def cut(self) -> int | None:
        """How many layers nodes compute; None for half of them."""
        k = self.mode.removeprefix("cut=")
        return None if k == "half" else int(k)

    @property
    def labels_stay(self) -> bool:
        """Whether nodes compute the loss themselves."""
        return False

    def plans(self, samples: "NDArray[np.int64]", batch_size: int, seed: int, *, shuffle: bool) -> Plans:
        """The batches of each pass, each of one node."""
        return partial(
            own_batches,
            samples,
            batch_size,
            seed,
            order=self.batch_order,
            shuffle=shuffle,
            side_by_side=self.side_by_side,
        )

    def check(self, training: "TrainingConfig") -> None:
        """Refuses a server that moves."""
        if self.orchestrator == "rotating":
            right = "must be best, or a node: the server keeps the upper part of the model"
            raise InputError("orchestrator", self.orchestrator, right)


class SplitOptions(CutOptions):
    """Split learning also without sharing labels."""

    lossy_because = "each batch is of one node, and the nodes follow one another"

    labels: Literal["at_server", "at_node"] = Field(
        "at_server",
        description="who computes the loss: the server, to which nodes send their labels, or the nodes",
    )

    @property
    def labels_stay(self) -> bool:
        """Whether nodes compute the loss themselves."""
        return self.labels == "at_node"


ALGORITHM = Algorithm(
    about="one model: its lower part goes from node to node, its upper part stays at a server",
    one_model=True,
    admits=admits,
    rows=one_row,
    options=SplitOptions,
    requires=requires,
    defaults=DEFAULTS,
    unread=UNREAD,
)
