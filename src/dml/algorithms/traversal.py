"""Traversal learning: centralized training on data that stay at their nodes (Batbaatar et al., 2025).

arXiv 2504.07471. An orchestrator draws virtual batches over the samples of all nodes, as
:mod:`dml.algorithms.centralized` does, and visits the nodes that hold the B samples of a batch b:

    g = sum_i g_i(x),    g_i the gradient of 1/B sum of the losses of node i's samples in b;    x <- x - lr g

This is the gradient of the mean loss over b, so x is the model of centralized training. With a cut of the
model into a lower and an upper part, nodes send the activations of their samples at the cut instead, and get
back the gradients of the loss in these (:mod:`dml.traversal.parts`). The three phases of the published
implementation are in :mod:`dml.traversal.three_phases`.

Plain form: ``tests/traversal/test_traversal.py``.
"""

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from dml.algorithms.algorithm import Algorithm
from dml.algorithms.one_model import DEFAULTS, UNREAD, one_row, requires
from dml.algorithms.server_at_node import ServerAtNode, admits
from dml.errors import InputError, one_line

if TYPE_CHECKING:
    from dml.training.config import TrainingConfig

_CUT = re.compile(r"cut=([1-9]\d{0,5})")


class TraversalOptions(ServerAtNode):
    """What nodes are asked for, and how this is computed in one process."""

    mode: str = Field(
        "grads",
        description="what nodes send: gradients of the whole model (grads); activations behind its first "
        "K layers with parameters, and the gradients of these layers (cut=K); or what they send in the three "
        "phases of the published implementation, for perceptrons (legacy3); split and splitfed have the cuts "
        "alone, by default that after half of these layers (cut=half)",
    )
    visits: Literal["together", "apart"] = Field(
        "together",
        description="compute the parts of all nodes in one pass over each batch (together), or each by "
        "itself (apart), which gives the same numbers to rounding",
    )
    labels: Literal["at_server", "at_node"] = Field(
        "at_server",
        description="who computes the loss of traversal --mode cut=K, or of split: the server, to which "
        "nodes send their labels, or the nodes",
    )
    visits_go: Literal["relayed", "collected"] = Field(
        "relayed",
        description="how visits go: each by itself over a shortest path (relayed), or together "
        "along the tree of these paths, where sums are collected (collected)",
    )

    @field_validator("mode")
    @classmethod
    def _known(cls, text: str) -> str:
        if text not in ("grads", "legacy3") and not _CUT.fullmatch(text):
            raise ValueError(f"{one_line(text)} is not grads, legacy3, or cut=K with K of at least 1")
        return text

    @property
    def cut(self) -> int | None:
        """How many layers nodes compute; None for the whole model."""
        found = _CUT.fullmatch(self.mode)
        return int(found[1]) if found else None

    @property
    def three_phases(self) -> bool:
        """Whether nodes send what they send in the published implementation."""
        return self.mode == "legacy3"

    def reads(self) -> set[str]:
        """The options that change the numbers: labels have a place only where there is a cut."""
        return super().reads() - (set() if self.cut else {"labels"})

    def check(self, training: "TrainingConfig") -> None:
        """Refuses what has no formula."""
        if self.visits == "apart" and self.three_phases and training.precision == "bf16":
            right = "legacy3 is computed in fp32 if visits are apart: give fp32, or --visits together"
            raise InputError("precision", "bf16", right)

    def lossy(self, training: "TrainingConfig") -> str | None:
        """Why training differs from centralized training by more than the rounding of sums; None if not."""
        if self.visits == "apart" and training.precision == "bf16":
            return "the part of each node is rounded to bfloat16 by itself"
        return None


ALGORITHM = Algorithm(
    about="one model, trained as in one place on data that stay on their nodes",
    one_model=True,
    admits=admits,
    rows=one_row,
    options=TraversalOptions,
    requires=requires,
    defaults=DEFAULTS,
    unread=UNREAD,
)
