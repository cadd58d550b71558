"""What each node trains on and is measured on, from one data set."""

import numpy as np
import pytest

from dml import config
from dml.data.build import build_node_data
from dml.data.load import load_dataset
from dml.topology import make

GRAPH = make("star:n=4")


def built(**flags):
    data = config.make(flags).data
    dataset = load_dataset(data, 0)
    return dataset, *build_node_data(dataset, GRAPH, data, 0)


def test_without_a_cut_every_training_sample_is_on_one_node_and_nothing_is_measured_locally():
    dataset, data, local = built()
    assert local == {}
    everything = np.sort(np.concatenate(data.index))
    np.testing.assert_array_equal(everything, np.arange(len(dataset.train_y)))


@pytest.mark.parametrize(
    ("shares", "names"),
    [((0.7, 0.3), ["local_test_acc"]), ((0.6, 0.2, 0.2), ["local_val_acc", "local_test_acc"])],
)
def test_a_cut_leaves_each_node_its_share_and_makes_sets_of_the_rest(shares, names):
    dataset, data, local = built(train_test_val=shares)
    _, whole, _ = built()
    assert sorted(local) == sorted(names)
    for node in range(GRAPH.n):
        measured = sum(len(local[name][node][1]) for name in names)
        assert data.samples[node] + measured == whole.samples[node]
        # Cut label by label: at most one sample per label is rounded.
        assert abs(data.samples[node] - shares[0] * whole.samples[node]) <= dataset.labels


def test_ood_samples_are_on_the_nodes_that_are_named_and_only_with_backdoor():
    _, data, _ = built(backdoor=True, backdoor_node_idx=(2,), backdoor_proportion=0.25)
    np.testing.assert_array_equal(data.ood_samples > 0, np.arange(GRAPH.n) == 2)
    assert data.ood_samples[2] == np.ceil(0.25 * data.samples[2])
    assert not built()[1].ood_samples.any()
