"""Where data come from: what each data set tells of itself, at the end of its own module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from dml.data.dataset import CLASSIFICATION, Dataset, DatasetSpec, Scale
from dml.section import Section

Options = TypeVar("Options", bound=Section)


@dataclass(frozen=True)
class HubImages:
    """An image data set on Hugging Face's hub.

    Args:
        id: owner and name there.
        shape: of an image: channels, height, width.
        labels: the number of classes.
        sizes: the numbers of training and test images.
        image, label: the columns that hold the images and their labels.
    """

    id: str
    shape: tuple[int, ...]
    labels: int
    sizes: tuple[int, int]
    image: str = "image"
    label: str = "label"


@dataclass(frozen=True)
class DataSource(Generic[Options]):
    """Everything that distributed_ml knows of a data set.

    Its module is read whenever a command line is checked, so it imports nothing slow; ``load`` may.

    Args:
        describe: ``(options, data_dir) -> DatasetSpec``: the data set with these options.
        load: ``(options, data_dir, seed) -> Dataset``: its arrays, of which the seed may decide the cut into
            training and test data. What takes long to make may be kept as a file in ``data_dir``.
        options: the data set's own flags.
        defaults: flags whose default this data set decides: model, optimizer, lr, batch_size, epochs, ...
        task: what a model is asked about a sample; the specs and arrays of the data set have the same.
        scale: turns pixels in [0, 1] into inputs; None if ``load`` returns inputs.
        augmented_scale: the same with ``augment``; None if images cannot be augmented.
        hub: where ``fetch_data.py`` gets it; None if nothing has to be fetched.
        version: raised by a change after which the data differ; part of an experiment's id above 1.
    """

    describe: Callable[[Options, Path], DatasetSpec]
    load: Callable[[Options, Path, int], Dataset]
    options: type[Options]
    defaults: Mapping[str, object]
    task: str = CLASSIFICATION
    scale: Scale | None = None
    augmented_scale: Scale | None = None
    hub: HubImages | None = None
    version: int = 1
