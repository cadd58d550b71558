"""Data sources: the description that each data set gives of itself, at the end of its own module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from dml.data.dataset import CLASSIFICATION, Dataset, DatasetSpec, Scale
from dml.section import Section

Options = TypeVar("Options", bound=Section)


SPLITS = {"train": "train", "test": "test"}
"""The splits of a data set on the hub, by the names of our own."""


@dataclass(frozen=True)
class HubImages:
    """An image data set on Hugging Face's hub.

    Args:
        id: owner and name on the hub.
        shape: the shape of an image: channels, height, width.
        labels: the number of classes.
        sizes: the numbers of training and test images.
        image, label: the columns that hold the images and their labels.
        splits: the hub's names for ``train`` and ``test``.
    """

    id: str
    shape: tuple[int, ...]
    labels: int
    sizes: tuple[int, int]
    image: str = "image"
    label: str = "label"
    splits: Mapping[str, str] = field(default_factory=lambda: SPLITS)


@dataclass(frozen=True)
class HubPairs:
    """A data set of pairs of sentences on Hugging Face's hub.

    Args:
        id: owner and name on the hub.
        labels: the names of the labels, in the order of their numbers.
        genres: the number of genres of the sentences.
        sizes: the numbers of training and test pairs.
        splits: the hub's names for ``train`` and ``test``.
    """

    id: str
    labels: tuple[str, ...]
    genres: int
    sizes: tuple[int, int]
    splits: Mapping[str, str] = field(default_factory=lambda: SPLITS)


@dataclass(frozen=True)
class DataSource(Generic[Options]):
    """Everything that distributed_ml knows about a data set.

    Its module is imported whenever a command line is checked, so it must not import anything slow; ``load``
    may.

    Args:
        describe: ``(options, data_dir) -> DatasetSpec``: the data set with these options.
        load: ``(options, data_dir, seed) -> Dataset``: its arrays; the seed may decide the cut into training
            and test data. It may keep files in ``data_dir`` to save time later.
        options: the data set's own flags.
        defaults: the defaults of flags that depend on the data set: model, optimizer, lr, batch_size, ...
        task: the task of a model, ``CLASSIFICATION`` or ``NEXT_TOKEN``; specs and arrays have the same.
        scale: turns pixels in [0, 1] into inputs; None if ``load`` returns inputs.
        augmented_scale: the same with ``augment``; None if images cannot be augmented.
        hub: where ``fetch_data.py`` gets it; None if nothing has to be fetched.
        version: raised when a change alters the data; part of the experiment's id if above 1.
    """

    describe: Callable[[Options, Path], DatasetSpec]
    load: Callable[[Options, Path, int], Dataset]
    options: type[Options]
    defaults: Mapping[str, object]
    task: str = CLASSIFICATION
    scale: Scale | None = None
    augmented_scale: Scale | None = None
    hub: HubImages | HubPairs | None = None
    version: int = 1
