"""The configuration of the data: the fields of every data set and partition, read where they matter."""

import pytest
from pydantic import ValidationError

from dml import config
from dml.data.config import DataConfig
from dml.data.partitions.budgets import BudgetOptions
from dml.data.partitions.equal import EqualOptions
from dml.data.partitions.registry import PARTITIONS
from dml.data.sources.tiny_mem import TinyMemOptions
from dml.errors import InputError
from dml.section import Section


def test_a_part_gets_its_own_fields():
    tokens = DataConfig(dataset="tiny_mem", num_example=60, partition="equal", label_alpha=0.5)
    assert tokens.dataset_options == TinyMemOptions(num_example=60)
    assert tokens.dataset_options.num_test == 12
    assert tokens.partition_options == EqualOptions(label_alpha=0.5)
    images = DataConfig(sample_alpha=3)
    assert images.dataset_options == Section()
    assert images.partition_options == BudgetOptions(sample_alpha=3)
    assert {"dataset": "tiny_mem", "num_example": 60, "partition": "equal"}.items() <= tokens.flat().items()


@pytest.mark.parametrize(
    ("flags", "read", "unread"),
    [
        ({}, {"label_alpha", "sample_alpha", "many_to_one", "random_bd"}, {"augment", "num_example"}),
        ({"partition": "equal"}, {"label_alpha"}, {"sample_alpha"}),
        ({"dataset": "cifar10"}, {"augment"}, {"ood_class", "backdoor_node_idx", "trigger"}),
        ({"dataset": "/a/folder"}, {"augment"}, {"num_example"}),
        ({"dataset": "tiny_mem"}, {"trigger", "modulo"}, {"many_to_one", "random_bd", "augment"}),
        ({"dataset": "tiny_mem", "task_type": "sum"}, {"trigger", "modulo"}, set()),
        ({"backdoor": True}, {"backdoor_node_idx", "backdoor_proportion", "ood_test_proportion"}, set()),
        (
            {"backdoor": True, "ood_kind": "heldout_class"},
            {"backdoor_node_idx", "ood_class"},
            {"backdoor_proportion", "ood_test_proportion", "many_to_one"},
        ),
        ({"random_data_placement": False}, {"centrality_metric_data_placement"}, set()),
    ],
)
def test_what_is_read(flags, read, unread):
    reads = DataConfig(**flags).reads()
    assert read <= reads
    assert not unread & reads
    assert reads <= set(dict(DataConfig.flags()))


def test_a_name_that_is_no_data_set_is_refused_with_those_there_are():
    with pytest.raises(
        InputError, match=r"^dataset imagenet: no such data set; choose one of: digits, .*_vgg, or"
    ):
        config.make({"dataset": "imagenet"})


def test_parts_of_one_size_cannot_be_placed_by_size():
    assert [name for name, partition in PARTITIONS.items() if partition.equal_sizes] == ["equal"]
    with pytest.raises(ValidationError, match="those of partition equal are all of one size"):
        DataConfig(partition="equal", random_data_placement=False)
