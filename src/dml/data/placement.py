"""Decides which node holds which samples: the partition, the placement of its parts, a held-out class."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.config import DataConfig
from dml.data.dataset import Dataset
from dml.data.partitions.registry import PARTITIONS
from dml.errors import InputError
from dml.topology.centrality import Centrality, closeness_centrality, harmonic_sum, pagerank, scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dml.topology import Topology


def assign_samples(
    data: Dataset,
    topology: "Topology",
    config: DataConfig,
    ood_nodes: "Sequence[int]",
    seed: int,
    least: int = 1,
) -> list[NDArray[np.int64]]:
    """The training samples of each node, ascending, n arrays.

    Args:
        data: the data set.
        topology: the graph, on which the placement depends.
        config: the partition with its options, the placement, and the held-out class.
        ood_nodes: the nodes that hold OOD data.
        seed: the experiment's seed.
        least: the smallest number of samples that each node gets.

    Raises:
        InputError: there are too few samples, or too few of the held-out class.
    """
    held_out = np.zeros(len(data.train_y), bool)
    if config.ood_kind == "heldout_class":
        held_out = data.train_y == config.ood_class
    pool = np.flatnonzero(~held_out)
    if topology.n * least > len(pool):
        right = f"has {topology.n} nodes for {len(pool)} training samples"
        more = f", and each needs {least}" if least > 1 else ""
        raise InputError("topology_file", topology.source, right + more)
    parts = _placed(_dealt(data, pool, topology.n, config, seed, least), data, topology, config)
    if config.ood_kind == "heldout_class" and ood_nodes:
        if held_out.sum() < len(ood_nodes):
            right = (
                f"has {held_out.sum()} training samples for {len(ood_nodes)} OOD nodes; choose another class"
            )
            raise InputError("ood_class", config.ood_class, right)
        order = randomness.generator(seed, "held-out class").permutation(np.flatnonzero(held_out))
        for node, more_samples in zip(ood_nodes, np.array_split(order, len(ood_nodes)), strict=True):
            parts[node] = np.sort(np.concatenate([parts[node], more_samples]))
    return parts


def _dealt(
    data: Dataset, pool: NDArray[np.int64], n: int, config: DataConfig, seed: int, least: int
) -> list[NDArray[np.int64]]:
    """The samples of the pool, split into n parts by the partition."""
    deal = PARTITIONS[config.partition].deal
    parts = deal(data.train_y[pool], n, data.labels, config.partition_options, seed, least)
    return [pool[part] for part in parts]


def _placed(
    parts: list[NDArray[np.int64]], data: Dataset, topology: "Topology", config: DataConfig
) -> list[NDArray[np.int64]]:
    """The part of each node, after the placement that the configuration asks for."""
    if config.label_placement != "drawn":
        counts = np.array([np.bincount(data.train_y[part], minlength=data.labels) for part in parts])
        chosen = by_labels(counts, topology, alike=config.label_placement == "clustered")
        parts = [parts[part] for part in chosen]
    return parts if config.random_data_placement else by_size(parts, topology, config)


def by_size(
    parts: list[NDArray[np.int64]], topology: "Topology", config: DataConfig
) -> list[NDArray[np.int64]]:
    """The part of each node if the largest part goes to the most central node.

    Nodes sorted by centrality are matched with parts sorted by size, both ascending with ties by lower index.
    An offset k moves each part k nodes down, and the k smallest parts to the most central nodes, as
    published: the most central node gets the k-th smallest part.

    Args:
        parts: the samples of each node, as they were drawn.
        topology: the graph.
        config: the centrality and the offset.
    """
    # Centralities that differ only by rounding are ties.
    score = np.round(placement_scores(topology, config.centrality_metric_data_placement), 12)
    nodes = np.argsort(score, kind="stable")
    ascending = np.argsort([len(part) for part in parts], kind="stable")
    result = list(parts)
    for node, part in zip(nodes, np.roll(ascending, -config.offset_clients_data_placement), strict=True):
        result[node] = parts[part]
    return result


def placement_scores(topology: "Topology", metric: str) -> NDArray[np.float64]:
    """The centrality of each node for the placement by size, [n].

    As published, pagerank stops at networkx's own tolerance, and the harmonic centrality is a sum.
    """
    if metric == "degree":
        return topology.degree.astype(np.float64)
    if metric == "betweenness":
        return topology.betweenness
    functions: dict[str, Centrality] = {
        "closeness": closeness_centrality,
        "harmonic": harmonic_sum,
        "pagerank": partial(pagerank, tolerance=1e-6),
    }
    return scores(topology, functions[metric])


def by_labels(counts: NDArray[np.int64], topology: "Topology", *, alike: bool) -> NDArray[np.int64]:
    """Places the parts so that neighbours' labels are alike or unlike; returns the part of each node, [n].

    The nodes choose in the order of a breadth-first search from the node of highest degree, which takes part
    0. Each node takes the remaining part whose shares of labels are nearest to (or farthest from) the mean of
    the neighbours that have already chosen; ties go to the lower index.

    Args:
        counts: the number of samples per label in each part, [n, L].
        topology: the graph; each further component begins with the first remaining part.
        alike: whether neighbours should be alike.
    """
    shares = counts / counts.sum(1, keepdims=True)
    chosen = np.full(topology.n, -1)
    remaining = np.arange(topology.n)
    links = topology.neighbours()
    for node in _breadth_first(topology):
        near = chosen[links.indices[links.indptr[node] : links.indptr[node + 1]]]
        near = near[near >= 0]
        at = 0
        if len(near):
            # Distances that differ only by rounding are ties.
            distance = np.round(((shares[remaining] - shares[near].mean(0)) ** 2).sum(1), 12)
            at = int(distance.argmin() if alike else distance.argmax())
        chosen[node] = remaining[at]
        remaining = np.delete(remaining, at)
    return chosen


def _breadth_first(topology: "Topology") -> NDArray[np.int64]:
    """The nodes by distance from the node of highest degree, component by component, ties by index, [n]."""
    order: list[NDArray[np.int64]] = []
    seen = np.zeros(topology.n, bool)
    for start in topology.most_connected(topology.n):
        if not seen[start]:
            hops = topology.distance_to([start])
            reached = np.flatnonzero(hops >= 0)
            order.append(reached[np.argsort(hops[reached], kind="stable")])
            seen[reached] = True
    return np.concatenate(order)
