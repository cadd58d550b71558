"""From a data set to what each node trains on, and to what of its own it is measured on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.data.config import DataConfig
from dml.data.dataset import Dataset
from dml.data.load import load_dataset
from dml.data.ood import NodeData, TestSets, cut_test_set, make_node_data
from dml.data.placement import assign_samples
from dml.data.splits import split
from dml.topology import Topology

LocalSets = dict[str, list[tuple[Any, Any]]]
"""By the name of a metric: inputs and answers of each node's own test or validation set, n pairs."""


@dataclass(frozen=True)
class Material:
    """What the nodes of an experiment train on, and what their models are measured on.

    Args:
        nodes: what each node trains on.
        local: the sets of its own that its model is measured on.
        tests: the test sets, which are the same for all nodes.
        shape: of one input of the data set.
        black: the input that a pixel of value 0 becomes, [channels]; None if images are not augmented.
    """

    nodes: NodeData
    local: LocalSets
    tests: TestSets
    shape: tuple[int, ...]
    black: NDArray[np.float32] | None


def material(config: DataConfig, topology: Topology, seed: int) -> Material:
    """Loads the data set, and deals it out.

    Args:
        config: the data set, and how its data are dealt out.
        topology: the graph.
        seed: the experiment's seed.

    Raises:
        InputError: the data set has not been fetched or is damaged, or there are too few samples.
    """
    dataset = load_dataset(config, seed)
    nodes, local = build_node_data(dataset, topology, config, seed)
    tests = cut_test_set(dataset, config, seed)
    black = dataset.black if config.augment else None
    return Material(nodes, local, tests, dataset.train_x.shape[1:], black)


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
