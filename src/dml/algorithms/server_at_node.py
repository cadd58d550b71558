"""What algorithms share that train one model from a node of the graph: where this node is."""

import re
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from dml.algorithms.one_model import BatchOptions
from dml.errors import InputError, one_line
from dml.topology import Topology
from dml.topology.paths import best_placed, shortest_paths

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NODE = re.compile(r"0|[1-9]\d{0,8}")


class ServerAtNode(BatchOptions):
    """The place of the server, whose messages go over shortest paths of the graph."""

    orchestrator: str = Field(
        "best",
        description="the node that visits the others, or has the server of split and splitfed: best (the "
        "smallest sum of samples x hops), rotating (another one for each virtual batch of traversal), or a "
        "node",
    )

    @field_validator("orchestrator", mode="before")
    @classmethod
    def _place(cls, given: object) -> str:
        text = str(given)
        if text not in ("best", "rotating") and not _NODE.fullmatch(text):
            raise ValueError(f"{one_line(text)} is not best, rotating, or a node")
        return text

    def place(self, topology: Topology, samples: "NDArray[np.int64]") -> int | None:
        """The orchestrator's node; None if it rotates."""
        if self.orchestrator == "rotating":
            return None
        return best_placed(topology, samples) if self.orchestrator == "best" else int(self.orchestrator)


def admits(topology: Topology, options: ServerAtNode, seed: int) -> None:
    """The graph is connected, its links always work, and the orchestrator is one of its nodes."""
    fixed = options.orchestrator not in ("best", "rotating")
    if fixed and int(options.orchestrator) >= topology.n:
        right = f"the graph has the nodes 0 to {topology.n - 1}"
        raise InputError("orchestrator", options.orchestrator, right)
    if (topology.weights < 1).any():
        right = (
            "needs links that always work: visits have to arrive, and some of its links have a weight below 1"
        )
        raise InputError("topology_file", topology.source, right)
    shortest_paths(topology, 0)
