"""From the files that people share image data sets in, to the arrays of :mod:`dml.data.images`.

Hugging Face ``datasets`` reads parquet and arrow files, and fetches from its hub where it is asked to; images
are decoded here, so that a damaged one is named. The library is imported when it is used: it takes a second.
"""

import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.data.config import DATASETS
from dml.data.images import Images
from dml.errors import InputError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Hub:
    """Where a data set lies on the hub, and its columns there."""

    id: str
    image: str = "image"
    label: str = "label"


HUB = {
    "mnist": Hub("ylecun/mnist"),
    "fmnist": Hub("zalando-datasets/fashion_mnist"),
    "cifar10": Hub("uoft-cs/cifar10", "img"),
    "cifar100": Hub("uoft-cs/cifar100", "img", "fine_label"),
}

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "target", "y")
SPLITS = ("train", "test")


class NoNetworkError(RuntimeError):
    """A data set could not be fetched."""


def from_hub(name: str) -> Images:
    """Fetches a data set over the network.

    Raises:
        NoNetworkError: the hub cannot be reached, or the data set is not there.
    """
    hub = HUB[name]
    try:
        found = _library(offline=False).load_dataset(hub.id)
    except Exception as error:
        # The libraries below raise errors of a dozen families for a missing network.
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise NoNetworkError(f"{name} cannot be fetched from the hub ({hub.id}): {why}") from None
    return _fitting(name, _images({s: found[s] for s in SPLITS}, name, hub.image, hub.label))


def from_source(name: str, source: Path) -> Images:
    """A named data set from a local copy: a folder of parquet or arrow files or images, or the hub's cache.

    Raises:
        InputError: it is not there, is another data set, or is damaged.
    """
    source = source.expanduser().absolute()
    if not source.is_dir():
        there = "is a file; give the folder that holds it" if source.exists() else "no such folder"
        raise InputError("source", source, there)
    hub = HUB[name]
    owner, repository = hub.id.split("/")
    # The hub's cache holds many data sets, each in a folder of this name; the newest snapshot is taken.
    for inside in (f"datasets--{owner}--{repository}", f"{owner}___{repository}"):
        cached = [p for p in (source / inside, *source.glob(f"*/{inside}")) if p.is_dir()]
        if cached:
            source = cached[0]
            snapshots = sorted(source.glob("snapshots/*"), key=lambda p: p.stat().st_mtime)
            source = snapshots[-1] if snapshots else source
            break
    return _fitting(name, from_folder(source, name, flag="source", hub=hub))


def from_folder(
    path: Path, name: str, *, flag: str = "dataset", hub: Hub | None = None, scratch: Path | None = None
) -> Images:
    """The images of a folder: parquet or arrow files, or ``train/<class>/`` and ``test/<class>/``.

    Args:
        path: the folder.
        name: as the user knows it.
        flag: what named it.
        hub: the columns, where they are known.
        scratch: folder for intermediate files.

    Raises:
        InputError: there are no such files, they are damaged, or they hold no images with integer labels.
    """
    # A folder of parquet files may have a picture beside them; folders of classes have no parquet files.
    for ending in ("parquet", "arrow"):
        files = [p for p in path.rglob(f"*.{ending}") if not p.name.startswith(".")]
        splits = {s: _of_split(files, path, s) for s in SPLITS}
        if any(splits.values()):
            _need_both(splits, path, name, flag, f"{{}}*.{ending}")
            return _from_tables(splits, ending, path, name, flag, hub, scratch)
    folders = {s: sorted(p for p in path.glob(f"{s}/*") if _class_folder(p)) for s in SPLITS}
    if any(folders.values()):
        _need_both(folders, path, name, flag, "{}/<class>/ with images")
        return _from_class_folders(folders, name, flag)
    raise InputError(
        flag,
        name if flag == "dataset" else path,
        f"{path} holds neither train*.parquet and test*.parquet, nor images in train/<class>/, test/<class>/",
    )


def _of_split(files: list[Path], root: Path, split: str) -> list[Path]:
    """``train-00000-of-00001.parquet``, ``train/0.parquet`` and ``mnist-train.arrow`` are of ``train``."""
    return sorted(
        p
        for p in files
        if p.name.startswith(split) or f"-{split}" in p.name or (p.parent != root and p.parent.name == split)
    )


def _class_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _need_both(splits: dict[str, list[Path]], path: Path, name: str, flag: str, pattern: str) -> None:
    for split, files in splits.items():
        if not files:
            kind = "test" if split == "test" else "training"
            wanted = pattern.format(split)
            raise InputError(
                flag, name if flag == "dataset" else path, f"has no {kind} split: {path} lacks {wanted}"
            )


def _from_tables(
    splits: dict[str, list[Path]],
    ending: str,
    path: Path,
    name: str,
    flag: str,
    hub: Hub | None,
    scratch: Path | None,
) -> Images:
    library = _library(offline=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=scratch) as cache:
        tables = {}
        for split, files in splits.items():
            try:
                if ending == "parquet":
                    tables[split] = library.Dataset.from_parquet([str(p) for p in files], cache_dir=cache)
                else:
                    tables[split] = library.concatenate_datasets(
                        [library.Dataset.from_file(str(p)) for p in files]
                    )
            except Exception as error:
                # pyarrow's errors, wrapped by datasets in ones of its own.
                why = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
                damaged = ", ".join(p.name for p in files)
                raise InputError(flag, name, f"{damaged} in {path} cannot be read ({why})") from None
        columns = (hub.image, hub.label) if hub else (None, None)
        return _images(tables, name, *columns, flag=flag)


def _images(
    tables: dict[str, "datasets.Dataset"],
    name: str,
    image: str | None = None,
    label: str | None = None,
    *,
    flag: str = "dataset",
) -> Images:
    """The two splits of a table with a column of images and one of labels."""
    x, y, names = {}, {}, None
    shape: tuple[int, ...] | None = None
    for split, table in tables.items():
        if len(table) == 0:
            raise InputError(flag, name, f"its {split} split is empty")
        image_column = image if image and image in table.column_names else _image_column(table, name, flag)
        label_column = label if label and label in table.column_names else _label_column(table, name, flag)
        y[split] = _labels(table, label_column, name, split, flag)
        names = names or getattr(table.features[label_column], "names", None)
        x[split] = _decode_all(_bytes(table, image_column, name, split, flag), len(table), shape, name, flag)
        shape = x[split].shape[1:]
    count = len(names) if names else max(int(y[split].max()) for split in SPLITS) + 1
    # Before any name is made up: a label may be a number of any size.
    _check_labels(y, count, bool(names), name, flag)
    classes = tuple(map(str, names or range(count)))
    return Images(x["train"], y["train"], x["test"], y["test"], classes)


def _image_column(table: "datasets.Dataset", name: str, flag: str) -> str:
    for column, feature in table.features.items():
        if type(feature).__name__ == "Image" or _dtype(feature) in ("binary", "large_binary"):
            return str(column)
        if isinstance(feature, dict) and "bytes" in feature:
            return str(column)
    there = ", ".join(table.column_names)
    raise InputError(flag, name, f"no column holds the bytes of images (there are: {there})")


def _label_column(table: "datasets.Dataset", name: str, flag: str) -> str:
    for column in LABEL_COLUMNS:
        if column in table.column_names:
            return column
    there, wanted = ", ".join(table.column_names), ", ".join(LABEL_COLUMNS)
    raise InputError(flag, name, f"no column holds labels (one of {wanted}; there are: {there})")


def _dtype(feature: object) -> str:
    return str(getattr(feature, "dtype", ""))


def _labels(table: "datasets.Dataset", column: str, name: str, split: str, flag: str) -> NDArray[np.int64]:
    kind = _dtype(table.features[column])
    values = table.data.column(column)
    missing = _missing(values)
    words = f"{missing} label{'s' if missing > 1 else ''} of {split} {'are' if missing > 1 else 'is'} missing"
    if not kind.startswith(("int", "uint")):
        example = next((value.as_py() for value in values if value.is_valid), None)
        right = f"the column {column} of {split} must hold integers from 0, not {kind} ({example!r})"
        raise InputError(flag, name, f"{right}; {words}" if missing else right)
    if missing:
        raise InputError(flag, name, words)
    labels: NDArray[np.int64] = np.asarray(table.with_format("numpy")[column][:], np.int64)
    return labels


def _missing(values: Any) -> int:
    """How many are null; with one of those, what was a column of integers is often one of floats."""
    return sum(chunk.is_null(nan_is_null=True).true_count for chunk in values.chunks)


def _check_labels(y: dict[str, NDArray[np.int64]], classes: int, named: bool, name: str, flag: str) -> None:
    there = np.unique(np.concatenate(list(y.values())))
    if there[0] < 0 or there[-1] >= classes:
        wrong = there[0] if there[0] < 0 else there[-1]
        raise InputError(flag, name, f"a label is {wrong}; they must be 0 to {classes - 1}")
    if not named and len(there) < classes:
        # Numbers with holes are no classes: years, identifiers ..
        hole = int(np.setdiff1d(np.arange(min(classes, len(there) + 1)), there)[0])
        raise InputError(
            flag, name, f"labels go up to {there[-1]}, but none is {hole}; they must be 0, 1, 2 .."
        )
    if classes < 2:
        raise InputError(flag, name, "all labels are the same; there must be two classes or more")


def _bytes(
    table: "datasets.Dataset", column: str, name: str, split: str, flag: str
) -> Iterator[tuple[str, bytes]]:
    """The encoded images with what to call each in an error."""
    from datasets import Image

    if type(table.features[column]).__name__ == "Image":
        table = table.cast_column(column, Image(decode=False))
    row = 0
    for batch in table.select_columns(column).iter(batch_size=1000):
        for value in batch[column]:
            where = f"image {row} of {split}"
            data = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(data, bytes):
                raise InputError(flag, name, f"{where} has no bytes")
            yield where, data
            row += 1


def _from_class_folders(folders: dict[str, list[Path]], name: str, flag: str) -> Images:
    """A folder a class; labels are the places of the folders' names in their order."""
    classes = sorted({p.name for paths in folders.values() for p in paths})
    index = {c: k for k, c in enumerate(classes)}
    x, y = {}, {}
    shape: tuple[int, ...] | None = None
    for split, paths in folders.items():
        files = [
            (file, index[folder.name])
            for folder in sorted(paths, key=lambda p: p.name)
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
        ]
        if not files:
            raise InputError(flag, name, f"no image in {split}/<class>/ ({', '.join(sorted(ENDINGS))})")
        encoded = ((str(file), _read(file, name, flag)) for file, _ in files)
        x[split] = _decode_all(encoded, len(files), shape, name, flag)
        shape = x[split].shape[1:]
        y[split] = np.array([label for _, label in files], np.int64)
    _check_labels(y, len(classes), True, name, flag)
    return Images(x["train"], y["train"], x["test"], y["test"], tuple(classes))


def _read(file: Path, name: str, flag: str) -> bytes:
    if file.is_dir():
        raise InputError(flag, name, f"{file} is a folder, not an image")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(flag, name, f"{file} cannot be read ({error.strerror})") from None


def _decode_all(
    encoded: Iterable[tuple[str, bytes]], count: int, shape: tuple[int, ...] | None, name: str, flag: str
) -> NDArray[np.uint8]:
    """All images of a split, [count, channels, height, width]; all must have one shape."""
    result: NDArray[np.uint8] | None = None
    for row, (where, data) in enumerate(encoded):
        image = _decode(where, data, name, flag)
        shape = shape or image.shape
        if image.shape != shape:
            sizes = (" x ".join(map(str, s)) for s in (image.shape, shape))
            raise InputError(
                flag, name, "images must all be of one size: {} is {}, others are {}".format(where, *sizes)
            )
        if result is None:
            result = np.empty((count, *shape), np.uint8)
        result[row] = image
    assert result is not None
    return result


def _decode(where: str, data: bytes, name: str, flag: str) -> NDArray[np.uint8]:
    """One image: grey ones have one channel, all others three; [channels, height, width]."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I") or image.mode == "F":
                raise InputError(flag, name, f"{where} has more than 8 bits a channel; convert it")
            kind = "L" if image.mode in ("1", "L", "LA") else "RGB"
            pixels = np.asarray(image.convert(kind), np.uint8)
    except InputError:
        raise
    except Exception as error:
        # A damaged image makes the decoders raise nearly anything; some name the buffer that it lies in.
        why = re.sub(r" *<_io\.BytesIO object at 0x[0-9a-fA-F]+>", "", f"{type(error).__name__}: {error}")
        raise InputError(flag, name, f"{where} is damaged ({why})") from None
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _fitting(name: str, images: Images) -> Images:
    spec = DATASETS[name]
    shape = images.train_x.shape[1:]
    if shape != spec.shape or len(images.classes) > spec.labels:
        found = " x ".join(map(str, shape))
        wanted = " x ".join(map(str, spec.shape))
        raise InputError(
            "source",
            None,
            f"holds images of {found} in {len(images.classes)} classes; {name} has {wanted} in {spec.labels}",
        )
    more = map(str, range(len(images.classes), spec.labels))
    return Images(images.train_x, images.train_y, images.test_x, images.test_y, (*images.classes, *more))


def _library(*, offline: bool) -> Any:
    """The ``datasets`` package, quiet, and without the network unless it is asked for."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            "dataset", None, f"image data sets need the packages of requirements-hpc.txt ({error})"
        ) from None
    if offline:
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
    return datasets
