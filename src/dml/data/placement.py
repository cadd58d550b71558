"""Which node holds which samples: the partition, each part's place, and a class that OOD nodes alone hold."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.data.config import DataConfig
from dml.data.equal_partition import equal_partition
from dml.data.load import Dataset
from dml.data.partition import partition
from dml.errors import InputError
from dml.topology.centrality import Centrality, closeness_centrality, harmonic_sum, pagerank, scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dml.topology import Topology


def share_out(
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
        topology: the graph, whose centralities decide where the parts lie.
        config: Dirichlet concentrations, placement, a held-out class.
        ood_nodes: nodes that hold OOD data.
        seed: the experiment's seed.
        least: samples that every node gets at least.

    Raises:
        InputError: there are too few samples, or none of the held-out class.
    """
    held = np.zeros(len(data.train_y), bool)
    if config.ood_kind == "heldout_class":
        held = data.train_y == config.ood_class
    pool = np.flatnonzero(~held)
    if topology.n * least > len(pool):
        raise InputError(
            "topology_file",
            topology.source,
            f"has {topology.n} nodes for {len(pool)} training samples"
            + (f", and each needs {least}" if least > 1 else ""),
        )
    labels, alpha = data.train_y[pool], config.label_alpha
    if config.partition == "equal":
        dealt = equal_partition(labels, topology.n, data.labels, alpha, seed)
    else:
        dealt = partition(labels, topology.n, data.labels, config.sample_alpha, alpha, seed, least)
    if config.label_placement != "drawn":
        counts = np.array([np.bincount(labels[part], minlength=data.labels) for part in dealt])
        dealt = [
            dealt[part] for part in by_labels(counts, topology, alike=config.label_placement == "clustered")
        ]
    parts = arranged([pool[part] for part in dealt], topology, config)
    if config.ood_kind == "heldout_class" and ood_nodes:
        if held.sum() < len(ood_nodes):
            raise InputError(
                "ood_class",
                config.ood_class,
                f"has {held.sum()} training samples for {len(ood_nodes)} OOD nodes; choose another",
            )
        order = randomness.generator(seed, "held-out class").permutation(np.flatnonzero(held))
        for node, more in zip(ood_nodes, np.array_split(order, len(ood_nodes)), strict=True):
            parts[node] = np.sort(np.concatenate([parts[node], more]))
    return parts


def arranged(
    parts: list[NDArray[np.int64]], topology: "Topology", config: DataConfig
) -> list[NDArray[np.int64]]:
    """The parts by node: as they were drawn, or the largest on the most central node.

    Nodes by centrality and parts by size, both ascending with ties by lower index, are matched in order; an
    offset k moves each part k nodes up, and the k largest to the least central ones.
    """
    if config.random_data_placement:
        return parts
    # Centralities that are equal but for rounding are ties.
    score = np.round(placement_scores(topology, config.centrality_metric_data_placement), 12)
    nodes = np.argsort(score, kind="stable")
    by_size = np.argsort([len(part) for part in parts], kind="stable")
    result = list(parts)
    for node, part in zip(nodes, np.roll(by_size, config.offset_clients_data_placement), strict=True):
        result[node] = parts[part]
    return result


def by_labels(counts: NDArray[np.int64], topology: "Topology", *, alike: bool) -> NDArray[np.int64]:
    """The part that each node holds, so that neighbours' labels are alike or unlike, [n].

    The nodes choose in the order of a breadth-first search, from the one of highest degree, whose part is the
    first: each takes, of the parts that are left, the one whose shares of labels are the nearest to, or the
    farthest from, the mean of its neighbours' that have chosen; ties by lower index.

    Args:
        counts: samples of each label in each part, [n, L].
        topology: the graph; a component of its own begins with the first part that is left.
        alike: whether neighbours are to be alike.
    """
    shares = counts / counts.sum(1, keepdims=True)
    chosen = np.full(topology.n, -1)
    left = np.arange(topology.n)
    links = topology.neighbours()
    for node in _breadth_first(topology):
        near = chosen[links.indices[links.indptr[node] : links.indptr[node + 1]]]
        near = near[near >= 0]
        at = 0
        if len(near):
            # Distances that are equal but for rounding are ties.
            distance = np.round(((shares[left] - shares[near].mean(0)) ** 2).sum(1), 12)
            at = int(distance.argmin() if alike else distance.argmax())
        chosen[node] = left[at]
        left = np.delete(left, at)
    return chosen


def _breadth_first(topology: "Topology") -> NDArray[np.int64]:
    """The nodes by hops from the one of highest degree, component by component, ties by index, [n]."""
    order: list[NDArray[np.int64]] = []
    seen = np.zeros(topology.n, bool)
    for start in topology.most_connected(topology.n):
        if not seen[start]:
            hops = topology.distance_to([start])
            reached = np.flatnonzero(hops >= 0)
            order.append(reached[np.argsort(hops[reached], kind="stable")])
            seen[reached] = True
    return np.concatenate(order)


def placement_scores(topology: "Topology", metric: str) -> NDArray[np.float64]:
    """The centrality of each node that the largest parts go by, [n].

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
