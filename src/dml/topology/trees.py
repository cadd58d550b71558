"""Spanning trees over which RelaySGD relays its sums, and how much a tree slows it down."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.errors import InputError
from dml.topology.graph import Topology

METHODS = ("min_mean_distance", "min_diameter", "bfs", "random")
"""Ways to choose a spanning tree of any connected graph."""

NAMED_TREES = ("chain", "two_chains", "double_binary_trees")
"""Names of fixed trees, whose edges the graph must contain."""

CHOICES = ("auto", "given", *METHODS, *NAMED_TREES)
"""The values of ``--tree``."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A spanning tree of a topology.

    Args:
        n: the number of nodes.
        edges: the tree's rows of ``Topology.edges``, [n - 1], ascending.
        order: the nodes from the root outwards, [n].
        parent: the parent of each node, [n]; -1 for the root.
        name: how the tree was chosen, in words.
    """

    n: int
    edges: NDArray[np.int64]
    order: NDArray[np.int64]
    parent: NDArray[np.int64]
    name: str

    def mean_distance(self) -> float:
        """The mean number of hops over all ordered pairs (i, j), including i = j."""
        below = np.ones(self.n, np.int64)
        for node in self.order[:0:-1]:
            below[self.parent[node]] += below[node]
        # An edge is on the path of every pair with exactly one node below it.
        cut = below[self.order[1:]]
        return float(2 * np.sum(cut * (self.n - cut)) / self.n**2)

    def diameter(self) -> int:
        """The largest number of hops between two nodes; the largest delay of a message is one round less."""
        longest, height = 0, np.zeros(self.n, np.int64)
        for node in self.order[:0:-1]:
            up, reach = self.parent[node], height[node] + 1
            longest, height[up] = max(longest, height[up] + reach), max(height[up], reach)
        return int(longest)


def kappa(trees: Iterable[Tree], overlap: bool = False) -> float:
    """How much slower RelaySGD is than all-reduce: 1 + the mean delay of the models that a node averages.

    A model from d hops away is d - 1 rounds late (d with ``overlap``), the node's own not at all, so

        kappa = 1/n + mean_{i,j} d_ij            1 + mean_{i,j} d_ij with overlap

    For several trees, which share the columns evenly, it is the mean.
    """
    return float(np.mean([(1 if overlap else 1 / tree.n) + tree.mean_distance() for tree in trees]))


def max_delay(trees: Iterable[Tree], overlap: bool = False) -> int:
    """The largest delay of a model, in rounds: the largest diameter minus 1, or the diameter with overlap."""
    return max(tree.diameter() for tree in trees) - (0 if overlap else 1)


# The command line, the rule and the result file each need the trees.
@lru_cache(maxsize=64)
def choose(
    topology: Topology, choice: str = "auto", root: int | None = None, seed: int = 0
) -> tuple[Tree, ...]:
    """The trees that a value of ``--tree`` stands for.

    ``min_mean_distance`` takes O(n m) time, in Python: seconds at 1,000 nodes. ``min_diameter`` takes O(m^2).

    Args:
        topology: the graph.
        choice: one of ``CHOICES``. ``auto`` is the graph itself if it is a tree, otherwise
            ``min_mean_distance``; ``given`` is the graph itself.
        root: the number of the ``bfs`` tree's root; by default the node of highest degree.
        seed: the seed of the ``random`` tree.

    Raises:
        InputError: the graph is not connected, is not a tree (``given``), or lacks edges of a named tree.
    """
    if choice not in CHOICES:
        raise InputError("tree", choice, f"no such tree; choose one of: {', '.join(CHOICES)}")
    if root is not None:
        if choice != "bfs":
            raise InputError("tree_root", root, "only the tree bfs has a root")
        if root not in topology.numbers:
            whole = topology.called is None
            right = (
                f"is not a node; nodes are 0 to {topology.n - 1}"
                if whole
                else "is not one of the remaining nodes"
            )
            raise InputError("tree_root", root, right)
    if choice == "two_chains":
        return _two_chains(topology)
    if choice in NAMED_TREES:
        return tuple(_named(topology, choice, *tree) for tree in _preset(choice, topology.n))
    at = topology.most_connected(1) if root is None else np.flatnonzero(topology.numbers == root).tolist()
    first = _from(topology, at)
    if choice == "given" and topology.m >= topology.n:
        right = f"{topology.source} has {topology.m} edges on {topology.n} nodes, so it is not a tree"
        raise InputError("tree", choice, right)
    if topology.m == topology.n - 1 or choice == "given":
        return (_renamed(first, "the graph itself"),)
    if choice == "bfs":
        return (first,)
    if choice == "random":
        return (_random(topology, seed),)
    candidates = []
    for node in range(topology.n):
        candidates.append(_from(topology, [node]))
        if candidates[-1].diameter() <= 2:
            return (candidates[-1],)  # A star is optimal, so there is no need to try the other nodes.
    if choice == "min_diameter":
        # The centre of a tree is a node or the middle of an edge (Hassin, Tamir 1995).
        candidates += [_from(topology, edge) for edge in topology.edges.tolist()]
        return (min(candidates, key=Tree.diameter),)
    return (min(candidates, key=Tree.mean_distance),)


def _from(topology: Topology, roots: list[int]) -> Tree:
    """The breadth-first tree from a node, or from the middle of an edge; ties go to lower indices."""
    indptr, indices, edge_index = topology.neighbours()
    parent = np.full(topology.n, -2, np.int64)
    used = np.full(topology.n, -1, np.int64)
    parent[roots[0]] = -1
    order = list(roots)
    for node in order:
        for place in range(indptr[node], indptr[node + 1]):
            other = indices[place]
            # The second root is a neighbour of the first: it gets its parent here, but has its place already.
            if parent[other] == -2:
                parent[other], used[other] = node, edge_index[place]
                if other not in roots:
                    order.append(int(other))
    if len(order) < topology.n:
        reached = f"only {len(order)} of the {topology.n} nodes of {topology.source} are connected to"
        right = f"{reached} node {topology.numbers[roots[0]]}; a spanning tree needs a connected graph"
        raise InputError("topology_file", topology.source, right)
    words = "the breadth-first tree from " + " and ".join(f"node {topology.numbers[root]}" for root in roots)
    return Tree(topology.n, np.sort(used[used >= 0]), np.array(order), parent, words)


def _renamed(tree: Tree, name: str) -> Tree:
    return Tree(tree.n, tree.edges, tree.order, tree.parent, name)


def _of_rows(topology: Topology, rows: NDArray[np.int64], name: str) -> Tree:
    """The tree whose edges are these rows of ``topology.edges``."""
    rows = np.sort(rows)
    part = Topology(topology.n, topology.edges[rows], topology.weights[rows], topology.source)
    tree = _from(part, [0])
    return Tree(tree.n, rows[tree.edges], tree.order, tree.parent, name)


def _random(topology: Topology, seed: int) -> Tree:
    """A tree drawn uniformly from all spanning trees by Wilson's loop-erased random walks (STOC 1996)."""
    _from(topology, [0])  # This refuses a disconnected graph, on which a walk might not end.
    rng = randomness.generator(seed, "spanning tree")
    indptr, indices, edge_index = topology.neighbours()
    joined, step = np.zeros(topology.n, bool), np.zeros(topology.n, np.int64)
    joined[0] = True
    rows = []
    for start in range(1, topology.n):
        node = start
        while not joined[node]:
            step[node] = rng.integers(indptr[node], indptr[node + 1])
            node = int(indices[step[node]])
        node = start
        while not joined[node]:
            joined[node] = True
            rows.append(edge_index[step[node]])
            node = int(indices[step[node]])
    return _of_rows(topology, np.array(rows, np.int64), f"a random spanning tree of seed {seed}")


Pairs = list[tuple[int, int]]


def _preset(choice: str, n: int) -> list[tuple[str, Pairs]]:
    if choice == "chain":
        return [("the chain of nodes 0, 1, ...", [(i, i + 1) for i in range(n - 1)])]
    names = ("the binary tree", "the binary tree with the nodes in reverse order")
    return list(zip(names, double_binary_trees(n), strict=True))


def double_binary_trees(n: int) -> tuple[Pairs, Pairs]:
    """Two binary trees on n nodes, as lists of edges.

    The first has the edges 0 - 1 and w - floor(w/2) for w > 1; the second is the same with n - 1 - i for i.
    If n is a power of two, each inner node of one tree has at most one child in the other. So each node sends
    about two models per round, half a model over each edge (Vogels et al. 2021).
    """
    pairs = [(0, 1), *((w // 2, w) for w in range(2, n))]
    return pairs, [(n - 1 - a, n - 1 - b) for a, b in pairs]


def _two_chains(topology: Topology) -> tuple[Tree, ...]:
    """Two chains: a ring that is cut at one of two opposite edges. Each relays half of the columns."""
    _from(topology, [0])
    if np.any(topology.degree != 2):
        raise InputError("tree", "two_chains", f"the graph must be a ring, and {topology.source} is not")
    indptr, indices, edge_index = topology.neighbours()
    node, came_by, rows = 0, int(edge_index[indptr[0]]), []
    for _ in range(topology.n):
        ways = range(indptr[node], indptr[node + 1])
        place = next(place for place in ways if edge_index[place] != came_by)
        came_by, node = int(edge_index[place]), int(indices[place])
        rows.append(came_by)
    cuts = rows[-1], rows[topology.n // 2 - 1]
    ends = [topology.numbers[topology.edges[cut]] for cut in cuts]
    names = [f"the ring without the edge {'-'.join(map(str, pair))}" for pair in ends]
    return tuple(
        _of_rows(topology, np.array([row for row in rows if row != cut]), name)
        for cut, name in zip(cuts, names, strict=True)
    )


def _named(topology: Topology, choice: str, name: str, pairs: Pairs) -> Tree:
    row = {(int(i), int(j)): k for k, (i, j) in enumerate(topology.edges)}
    wanted = [(min(pair), max(pair)) for pair in pairs]
    missing = ["-".join(map(str, topology.numbers[[i, j]])) for i, j in wanted if (i, j) not in row]
    if missing:
        right = f"{topology.source} lacks the edge {missing[0]}" + (
            f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        )
        raise InputError("tree", choice, right)
    return _of_rows(topology, np.array([row[pair] for pair in wanted]), name)
