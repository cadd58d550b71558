"""From a data set to what each node trains on, and to what of its own it is measured on."""

from typing import Any

from dml.data.config import DataConfig
from dml.data.dataset import Dataset
from dml.data.ood import NodeData, make_node_data
from dml.data.placement import assign_samples
from dml.data.splits import split
from dml.topology import Topology

LocalSets = dict[str, list[tuple[Any, Any]]]
"""By the name of a metric: inputs and answers of each node's own test or validation set, n pairs."""


def build_node_data(
    dataset: Dataset, topology: Topology, config: DataConfig, seed: int
) -> tuple[NodeData, LocalSets]:
    """Deals out the samples, cuts each node's into training, test and validation sets, and adds OOD data.

    Args:
        dataset: the data set.
        topology: the graph, on which parts may be placed.
        config: how data are dealt out, with the OOD nodes by number.
        seed: the experiment's seed.

    Returns:
        What each node trains on, and the sets of its own that its model is measured on.

    Raises:
        InputError: there are too few samples for the nodes and sets.
    """
    ood_nodes = (config.backdoor_node_idx or ()) if config.backdoor else ()
    shares = config.train_test_val or (1.0,)
    parts = assign_samples(dataset, topology, config, ood_nodes, seed, least=len(shares))
    local: LocalSets = {}
    if config.train_test_val:
        cut = split(parts, dataset.train_y, dataset.labels, shares, seed)
        parts = cut.pop("train")
        local = {
            f"local_{name}_acc": [dataset.ask(dataset.train(s), dataset.train_y[s]) for s in samples]
            for name, samples in cut.items()
        }
    return make_node_data(dataset, parts, config, ood_nodes, seed), local
