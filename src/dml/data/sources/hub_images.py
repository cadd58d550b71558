"""The image data sets on Hugging Face's hub. ``fetch_data.py`` downloads them into ``data_dir``."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from dml.data.data_dir import fetch_command, not_fetched
from dml.data.dataset import Dataset, DatasetSpec, Scale
from dml.data.images import KeptImages
from dml.data.kept import is_kept
from dml.data.source import DataSource, HubImages
from dml.section import Section

_UNIT: Scale = ((0.0,), (1.0,))
_HALF: Scale = ((0.5,), (0.5,))
_CIFAR_STATISTICS: Scale = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def hub_images(
    name: str,
    hub: HubImages,
    defaults: Mapping[str, object],
    scale: Scale = _UNIT,
    augmented_scale: Scale | None = None,
) -> DataSource[Section]:
    """The data source of an image data set of the hub.

    If the copy in ``data_dir`` has other sizes (a part of the data set, say), it gets a fingerprint, which
    distinguishes it from the whole one.

    Args:
        name: the data set's name in distributed_ml.
        hub: the data set on the hub.
        defaults: the defaults of flags that depend on the data set.
        scale: turns pixels in [0, 1] into inputs.
        augmented_scale: the same with ``augment``; None if its images cannot be augmented.
    """
    return DataSource(
        describe=partial(_describe, name, hub),
        load=partial(_load, name),
        options=Section,
        defaults=defaults,
        scale=scale,
        augmented_scale=augmented_scale,
        hub=hub,
    )


def _describe(name: str, hub: HubImages, options: Section, data_dir: Path) -> DatasetSpec:
    usual = DatasetSpec(hub.shape, hub.labels, hub.sizes)
    kept = _kept(name, data_dir)
    if not is_kept(kept.path):
        return usual
    meta = kept.meta()
    if (meta.shape, len(meta.classes)) != (hub.shape, hub.labels):
        raise kept.damaged(f"images of {meta.shape} in {len(meta.classes)} classes")
    if meta.sizes == hub.sizes:
        return usual
    return replace(usual, sizes=meta.sizes, fingerprint=meta.fingerprint)


def _load(name: str, options: Section, data_dir: Path, seed: int) -> Dataset:
    kept = _kept(name, data_dir)
    if not is_kept(kept.path):
        raise not_fetched([name], data_dir)
    return kept.load()


def _kept(name: str, data_dir: Path) -> KeptImages:
    return KeptImages(data_dir / name, name, f"run: {fetch_command([name], data_dir)}")


_MNIST_DEFAULTS = {"model": "mnist_mlp", "optimizer": "sgd", "lr": 0.01, "batch_size": 64, "epochs": 5}
_CIFAR_DEFAULTS = {"optimizer": "adam", "lr": 1e-4, "batch_size": 64, "epochs": 5}

MNIST = hub_images(
    "mnist", HubImages("ylecun/mnist", (1, 28, 28), 10, sizes=(60_000, 10_000)), _MNIST_DEFAULTS
)
FMNIST = hub_images(
    "fmnist",
    HubImages("zalando-datasets/fashion_mnist", (1, 28, 28), 10, sizes=(60_000, 10_000)),
    _MNIST_DEFAULTS,
)
CIFAR10 = hub_images(
    "cifar10",
    HubImages("uoft-cs/cifar10", (3, 32, 32), 10, sizes=(50_000, 10_000), image="img"),
    {"model": "cnn", **_CIFAR_DEFAULTS},
    scale=_HALF,
    augmented_scale=_CIFAR_STATISTICS,
)
CIFAR100 = hub_images(
    "cifar100",
    HubImages("uoft-cs/cifar100", (3, 32, 32), 100, sizes=(50_000, 10_000), image="img", label="fine_label"),
    {"model": "vgg16", **_CIFAR_DEFAULTS},
    scale=_HALF,
    augmented_scale=_CIFAR_STATISTICS,
)
