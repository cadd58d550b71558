"""The data sets by name, and those that are still to be fetched.

To add one, write a file in ``dml/data/sources`` and a line here. A folder of images is a data set as well;
its name is its path (:mod:`dml.data.folder`).
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dml.data.data_dir import not_fetched
from dml.data.folder import folder_source
from dml.data.kept import is_kept
from dml.data.source import DataSource
from dml.registry import Registry
from dml.section import Section

DATASETS = Registry[DataSource[Section]](
    "dml.data.sources",
    {
        "digits": "digits:DIGITS",
        "mnist": "hub_images:MNIST",
        "fmnist": "hub_images:FMNIST",
        "cifar10": "hub_images:CIFAR10",
        "cifar100": "hub_images:CIFAR100",
        "tiny_mem": "tiny_mem:TINY_MEM",
        "mnli": "mnli:MNLI",
    },
)

DATASET_ALIASES: dict[str, Mapping[str, object]] = {
    "cifar10_augment": {"dataset": "cifar10", "augment": True, "model": "cnn"},
    "cifar10_dropout": {"dataset": "cifar10", "model": "cnn_dropout"},
    "cifar10_vgg": {"dataset": "cifar10", "model": "vgg16"},
    "cifar10_augment_vgg": {"dataset": "cifar10", "augment": True, "model": "vgg16"},
    "cifar10_augment_dropout": {"dataset": "cifar10", "augment": True, "model": "cnn_dropout"},
    "cifar10_resnet18": {"dataset": "cifar10", "model": "resnet18"},
    "cifar10_restnet18": {"dataset": "cifar10", "model": "resnet18"},
    "cifar10_restnet50": {"dataset": "cifar10", "model": "resnet50"},
    "cifar10_mobile": {"dataset": "cifar10", "model": "mobilenetv2"},
    "cifar10_vit": {"dataset": "cifar10", "model": "vit"},
    "cifar100_vgg": {"dataset": "cifar100", "model": "vgg16"},
}
"""The published names that stand for a data set, its augmentation and a model; restnet is its spelling."""


def find_source(name: str) -> DataSource[Section]:
    """The data set of that name or, if there is none, the folder of that path, which need not exist."""
    return DATASETS[name] if name in DATASETS else folder_source(name)


def is_dataset(name: str) -> bool:
    """Whether a name stands for a data set: it is in the table, a folder, or written like a path."""
    return name in DATASETS or os.sep in name or os.path.isdir(name)


def dataset_names() -> list[str]:
    """All names that stand for a data set, the published ones included."""
    return [*DATASETS, *DATASET_ALIASES]


def absolute_dataset(name: str) -> str:
    """The name of a data set for a process in another working directory: a folder by its absolute path."""
    return name if name in DATASETS else str(Path(name).expanduser().absolute())


def datasets_to_fetch(names: Iterable[str], data_dir: Path) -> list[str]:
    """The data sets that have to be fetched before they can be used, each once.

    Args:
        names: names of data sets.
        data_dir: the folder of the data sets.
    """
    fetched = [name for name in dict.fromkeys(names) if find_source(name).hub]
    return [name for name in fetched if not is_kept(data_dir / name)]


def check_fetched(names: Iterable[str], data_dir: Path) -> None:
    """Refuses data sets that have not been fetched, with the command that fetches them.

    Args:
        names: names of data sets.
        data_dir: the folder of the data sets.

    Raises:
        InputError: at least one has not been fetched.
    """
    missing = datasets_to_fetch(names, data_dir)
    if missing:
        raise not_fetched(missing, data_dir)
