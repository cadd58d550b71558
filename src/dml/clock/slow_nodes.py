"""Nodes that compute more slowly, or faster, than the others: ``NODE@FACTOR``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dml.clock.laws import number
from dml.errors import InputError, one_line
from dml.field_types import MAX_COUNT


def parse(texts: Sequence[str]) -> dict[int, float]:
    """The factor of each node that is named.

    Raises:
        ValueError: one text is not of the form NODE@FACTOR, or names a node again.
    """
    factors: dict[int, float] = {}
    for text in texts:
        word, at, factor = text.partition("@")
        if not at or not (word.isascii() and word.isdigit()):
            raise ValueError(f"{one_line(text)} is not of the form NODE@FACTOR, such as 3@2.5")
        # Python reads no number of more than 4,300 digits.
        if len(word) > 20 or int(word) > MAX_COUNT:
            raise ValueError(f"NODE must be at most {MAX_COUNT}")
        if int(word) in factors:
            raise ValueError(f"node {int(word)} is named twice")
        factors[int(word)] = number(factor, "FACTOR")
    return factors


def factors_of(n: int, texts: Sequence[str]) -> NDArray[np.float64]:
    """The factor on the compute time of each node, [n]; 1 for nodes that are not named.

    Raises:
        InputError: one is no node of the graph.
    """
    named = parse(texts)
    for node in named:
        if node >= n:
            raise InputError("slow_nodes", texts, f"the graph has the nodes 0 to {n - 1}, and no {node}")
    factors = np.ones(n)
    factors[list(named)] = list(named.values())
    return factors
