"""What algorithms have in common that average by one matrix W of the graph."""

from typing import TYPE_CHECKING

from dml.algorithms.options import EdgeWeight
from dml.topology import Topology, averaging

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dml.algorithms.algorithm import Setup

GOSSIP_RULES = ("hold_last", "self_weight", "renormalise")
"""What averages over neighbours make of a lost message: see :mod:`dml.exchange.average`."""


def matrix(setup: "Setup") -> "csr_array":
    """W of the graph, [n, n], as the options say."""
    assert isinstance(setup.options, EdgeWeight)
    return averaging.averaging(setup.topology, setup.options.edge_weight)


def admits(topology: Topology, options: EdgeWeight, seed: int) -> None:
    """Refuses an edge weight that is too large for the graph.

    Raises:
        InputError: naming the largest one.
    """
    averaging.averaging(topology, options.edge_weight)


def last_messages(n: int, m: int, lossy: bool) -> int:
    """Models' worth of memory: where messages may be lost, the last one of each link."""
    return 2 * m if lossy else 0
