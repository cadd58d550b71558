"""The graph of an experiment: which nodes share a link, and how often that link works."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dml.errors import InputError

if TYPE_CHECKING:
    import networkx as nx

Array = TypeVar("Array", bound=NDArray[Any])


class Neighbours(NamedTuple):
    """All neighbourhoods as compressed sparse rows: node i's neighbours are at indptr[i]:indptr[i + 1].

    Attributes:
        indptr: int32 [n + 1].
        indices: int32 [2m], the neighbours, in ascending order per node, without the node itself.
        edge_index: int32 [2m], the row of `Topology.edges` that joins the node to that neighbour.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    edge_index: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Topology:
    """An undirected graph without self-loops; it need not be connected. Its arrays are read-only.

    Args:
        n: number of nodes, at least 2.
        edges: node indices in any order, [m, 2]; kept as int32 with i < j, sorted.
        weights: the probability that each link works, in (0, 1], [m]; kept as float64, in the edges' order.
        source: how the graph was made (``barabasi_albert:n=33,m=2,seed=0``), or the stem of its file.
        blocks: the community of each node, [n]; None if the graph's generator makes no communities.
        called: if this is a part of a larger graph, its nodes' numbers there, [n]; None for a whole graph.

    Raises:
        InputError: the arguments do not describe such a graph.
    """

    n: int
    edges: NDArray[np.int32]
    weights: NDArray[np.float64]
    source: str
    blocks: NDArray[np.int32] | None = None
    called: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        edges = np.sort(_pairs(self.edges), axis=1)
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        weights = np.asarray(self.weights, dtype=np.float64)
        blocks = None if self.blocks is None else np.array(self.blocks, dtype=np.int32)
        wrong = _what_is_wrong(self.n, edges[order], weights, self.source, blocks)
        if wrong:
            raise InputError("topology_file", self.source, wrong)
        object.__setattr__(self, "edges", _read_only(edges[order].astype(np.int32)))
        object.__setattr__(self, "weights", _read_only(weights[order]))
        object.__setattr__(self, "blocks", None if blocks is None else _read_only(blocks))

    @classmethod
    def from_networkx(cls, graph: "nx.Graph", source: str, blocks: ArrayLike | None = None) -> "Topology":
        """The topology of a networkx graph: nodes keep its order; its weights are ignored, all links work.

        Raises:
            InputError: the graph is directed, has parallel edges or self-loops, or has fewer than 2 nodes.
        """
        if graph.is_directed() or graph.is_multigraph():
            kind = "directed" if graph.is_directed() else "a multigraph"
            raise InputError(
                "topology_file", source, f"the graph is {kind}; it must be undirected and simple"
            )
        index = {node: i for i, node in enumerate(graph)}
        edges = _pairs([(index[a], index[b]) for a, b in graph.edges()])
        labels = None if blocks is None else np.asarray(blocks, dtype=np.int32)
        return cls(len(index), edges.astype(np.int32), np.ones(len(edges)), source, labels)

    def with_weights(self, weights: ArrayLike, source: str) -> "Topology":
        """The same graph with other link probabilities, [m], in the order of `edges`."""
        return replace(self, weights=np.asarray(weights, dtype=np.float64), source=source)

    def subgraph(self, nodes: NDArray[np.int64]) -> tuple["Topology", NDArray[np.int64]]:
        """The subgraph of some nodes, which are given in ascending order, and its rows of `edges`."""
        kept = np.isin(self.edges, nodes).all(axis=1)
        edges = np.searchsorted(nodes, self.edges[kept]).astype(np.int32)
        blocks = None if self.blocks is None else self.blocks[nodes]
        gone = np.setdiff1d(self.numbers, self.numbers[nodes])
        source = f"{self.source} without {', '.join(map(str, gone))}" if len(gone) else self.source
        part = Topology(len(nodes), edges, self.weights[kept], source, blocks, self.numbers[nodes])
        return part, np.flatnonzero(kept)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The nodes' numbers, [n]: in the larger graph, if this is a part of one."""
        return np.arange(self.n) if self.called is None else self.called

    @property
    def m(self) -> int:
        """The number of edges."""
        return len(self.edges)

    @cached_property
    def degree(self) -> NDArray[np.int64]:
        """The number of neighbours of each node, [n]."""
        return _read_only(np.bincount(self.edges.ravel(), minlength=self.n))

    @cached_property
    def betweenness(self) -> NDArray[np.float64]:
        """The share of all shortest paths (in hops, end points included) that each node is on, [n].

        This is networkx's pure-Python Brandes algorithm: tens of milliseconds at 64 nodes, a minute at 4,096.
        """
        import networkx as nx

        share = nx.betweenness_centrality(self.graph(), normalized=True, endpoints=True)
        return _read_only(np.array([share[node] for node in range(self.n)], dtype=np.float64))

    @cached_property
    def _neighbours(self) -> Neighbours:
        row = self.edges.T.ravel()
        column = self.edges[:, ::-1].T.ravel()
        edge = np.tile(np.arange(self.m, dtype=np.int32), 2)
        order = np.lexsort((column, row))
        indptr = np.concatenate([[0], np.cumsum(self.degree)]).astype(np.int32)
        return Neighbours(*map(_read_only, (indptr, column[order], edge[order])))

    def neighbours(self) -> Neighbours:
        """All neighbourhoods as compressed sparse rows, computed once."""
        return self._neighbours

    def graph(self) -> "nx.Graph":
        """A new networkx graph with nodes 0 to n - 1, whose edges have the attribute ``weight``."""
        import networkx as nx

        graph = nx.empty_graph(self.n)
        graph.add_weighted_edges_from(
            (i, j, w) for (i, j), w in zip(self.edges.tolist(), self.weights.tolist(), strict=True)
        )
        return graph

    def distance_to(self, nodes: Iterable[int]) -> NDArray[np.int32]:
        """The number of hops from each node to the nearest of `nodes`, int32 [n]; -1 if none is reachable.

        Raises:
            IndexError: one of `nodes` is not in 0..n-1.
        """
        starts = np.fromiter(nodes, dtype=np.int64)
        if ((starts < 0) | (starts >= self.n)).any():
            raise IndexError(f"nodes are 0 to {self.n - 1}, not {starts.tolist()}")
        distance = np.full(self.n, -1, dtype=np.int32)
        distance[starts] = 0
        i, j = self.edges.T
        for hops in range(1, self.n):
            at_front = distance == hops - 1
            new = np.concatenate([j[at_front[i]], i[at_front[j]]])
            new = new[distance[new] == -1]
            if not len(new):
                break
            distance[new] = hops
        return distance

    def most_connected(self, k: int) -> list[int]:
        """The k nodes of highest degree (all n if k > n); ties go to the lower index.

        Raises:
            ValueError: k is negative.
        """
        if k < 0:
            raise ValueError(f"k must not be negative, not {k}")
        return [int(node) for node in np.argsort(-self.degree, kind="stable")[:k]]

    @cached_property
    def graph_id(self) -> str:
        """12 hex digits of a hash of n, edges and weights; it does not depend on how the graph was given."""
        digest = hashlib.sha256(str(self.n).encode())
        digest.update(np.ascontiguousarray(self.edges, dtype="<i4").tobytes())
        digest.update(np.ascontiguousarray(self.weights, dtype="<f8").tobytes())
        return digest.hexdigest()[:12]

    @property
    def seed(self) -> int | None:
        """The seed in `source`, if it names one."""
        found = re.search(r"[:,]seed=(\d+)(?:,|$)", self.source)
        return int(found[1]) if found else None

    @property
    def family(self) -> str:
        """`source` without its seed; results of different seeds are grouped by it."""
        name, _, arguments = self.source.partition(":")
        rest = [argument for argument in arguments.split(",") if not re.fullmatch(r"seed=\d+", argument)]
        return ":".join(filter(None, [name, ",".join(rest)]))

    @property
    def label(self) -> str:
        """`family` as a file name: only letters, digits and ``. _ + -``."""
        text = re.sub(r"[:,]", "-", self.family).replace("=", "")
        return re.sub(r"[^A-Za-z0-9._+-]", "_", text).lstrip(".-") or "topology"


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _pairs(edges: ArrayLike) -> NDArray[np.int64]:
    """Edges as int64 [m, 2], even if m is 0."""
    array = np.asarray(edges, dtype=np.int64)
    return array if array.size else array.reshape(0, 2)


def _what_is_wrong(
    n: int,
    edges: NDArray[np.int64],
    weights: NDArray[np.float64],
    source: str,
    blocks: NDArray[np.int32] | None,
) -> str | None:
    """Why these arguments are no topology, with the first wrong edge; None if they are one.

    `edges` are sorted and `weights` are not, as only their shape and range are checked.
    """
    if n < 2:
        return f"a topology has at least 2 nodes, not {n}"
    if not source or not source.isprintable():
        return "the source or file name must be one line of printable text"
    if edges.ndim != 2 or edges.shape[1] != 2 or weights.shape != (len(edges),):
        return f"edges must be [m, 2] and weights [m], not {edges.shape} and {weights.shape}"
    if len(edges) and (edges.min() < 0 or edges.max() >= n):
        return f"an edge names a node outside the range 0 to {n - 1}"
    loops = edges[edges[:, 0] == edges[:, 1]]
    if len(loops):
        return f"node {loops[0, 0]} is linked to itself; self-loops are not allowed"
    twice = edges[1:][(edges[1:] == edges[:-1]).all(axis=1)]
    if len(twice):
        return f"the edge {twice[0, 0]}-{twice[0, 1]} is given twice"
    outside = weights[~((weights > 0) & (weights <= 1))]
    if len(outside):
        return f"a link probability is {outside[0]}; it must be above 0 and at most 1"
    if blocks is not None and blocks.shape != (n,):
        return f"blocks must be [{n}], one per node, not {list(blocks.shape)}"
    return None
