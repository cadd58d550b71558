"""Partitions: the ways to deal out training samples to the nodes, and how each describes itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dml.section import Section

MIN_ALPHA = 1e-300
"""Every label is on one node long before; below it, logarithms of Dirichlet draws overflow."""

MAX_ALPHA = 1e9
"""The largest concentration: draws overflow far above it, and here shares differ by only 1 in 30,000."""


class LabelOptions(Section):
    """The option that all partitions by Dirichlet draws over the labels share."""

    label_alpha: float = Field(
        100.0,
        ge=MIN_ALPHA,
        le=MAX_ALPHA,
        description="Dirichlet concentration of the labels on each node: 1000 is even, 1 is skewed",
    )


Options = TypeVar("Options", bound=Section)


@dataclass(frozen=True)
class Partition(Generic[Options]):
    """One way to deal out samples; its own module ends with it.

    Args:
        deal: ``(labels, n, classes, options, seed, least)`` -> the samples of each node: n ascending arrays
            of indices into ``labels``, the labels of all samples, [N]. Every sample is on exactly one node,
            and every node has at least ``least`` samples. ``classes`` is the number of labels, and
            n x least <= N.
        about: a few words on what it does, for the help.
        options: its own flags.
        equal_sizes: whether the nodes' sizes differ by at most one, so that parts cannot be placed by size.
        version: raised when a change deals samples out differently; part of the experiment's id if above 1.
    """

    deal: Callable[[NDArray[np.int64], int, int, Options, int, int], list[NDArray[np.int64]]]
    about: str
    options: type[Options]
    equal_sizes: bool = False
    version: int = 1
