"""The part of one node in the data of an experiment, and what identifies it."""

import hashlib
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from dml.data.ood import NodeData


def of_node(data: NodeData, node: int) -> NodeData:
    """The data with the samples of one node alone; the others have none."""

    def own(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        # Copied, so that the rest can be freed.
        return [array.copy() if number == node else array[:0].copy() for number, array in enumerate(arrays)]

    return replace(data, x=own(data.x), y=own(data.y), index=own(data.index))


def sha256_of(data: NodeData, node: int) -> str:
    """A hash of a node's samples, the same on every machine."""
    found = hashlib.sha256()
    for array in (data.x[node], data.y[node], data.index[node]):
        kind = array.dtype.newbyteorder("<")
        found.update(f"{kind.str} {array.shape}".encode())
        found.update(array.astype(kind).tobytes())
    return found.hexdigest()
