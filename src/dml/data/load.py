"""Describes or loads the data set that a configuration names."""

from dataclasses import replace

from dml.data.catalogue import find_source
from dml.data.config import DataConfig
from dml.data.dataset import Dataset, DatasetSpec


def describe_dataset(config: DataConfig) -> DatasetSpec:
    """The description of the data set; a folder of images is converted if that has not been done yet.

    Args:
        config: the data set's name and options.

    Raises:
        InputError: the folder cannot be used, or the files of the data set are damaged.
    """
    return find_source(config.dataset).describe(config.dataset_options, config.data_dir)


def load_dataset(config: DataConfig, seed: int) -> Dataset:
    """The arrays of the data set.

    Args:
        config: the data set's name and options, and whether its images are to be augmented.
        seed: the experiment's seed, which may decide the cut into training and test data.

    Raises:
        InputError: the data set has not been fetched, or its files are damaged.
    """
    source = find_source(config.dataset)
    scale = (source.augmented_scale if config.augment else None) or source.scale
    return replace(source.load(config.dataset_options, config.data_dir, seed), scale=scale)
