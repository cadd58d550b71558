"""Tables of images: a column of encoded images, and one of labels.

The images are decoded here, and not by Hugging Face ``datasets``, so that errors can name a damaged one.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.data.decode import Origin, decode_images
from dml.data.images import Images
from dml.data.source import SPLITS, HubImages

if TYPE_CHECKING:
    import datasets

LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "target", "y")


def images_of_tables(
    tables: Mapping[str, "datasets.Dataset"], origin: Origin, hub: HubImages | None = None
) -> Images:
    """The images and labels of two tables.

    Args:
        tables: the splits ``train`` and ``test``, each with a column of images and one of labels.
        origin: the field that led to them.
        hub: the data set on the hub, which tells the columns, if it is known.

    Raises:
        InputError: they hold no images with integer labels, or an image is damaged.
    """
    x, y, names = {}, {}, None
    shape: tuple[int, ...] | None = None
    for split in SPLITS:
        table = tables[split]
        if len(table) == 0:
            raise origin.error(f"its {split} split is empty")
        known = hub if hub and {hub.image, hub.label} <= set(table.column_names) else None
        image_column = known.image if known else _image_column(table, origin)
        label_column = known.label if known else _label_column(table, origin)
        y[split] = _labels(table, label_column, split, origin)
        names = names or getattr(table.features[label_column], "names", None)
        x[split] = decode_images(_encoded(table, image_column, split, origin), len(table), shape, origin)
        shape = x[split].shape[1:]
    count = len(names) if names else max(int(y[split].max()) for split in SPLITS) + 1
    # Check before making up names: a label may be any number, so there could be billions of them.
    _check_labels(y, count, bool(names), origin)
    classes = tuple(map(str, names or range(count)))
    return Images(x["train"], y["train"], x["test"], y["test"], classes)


def _image_column(table: "datasets.Dataset", origin: Origin) -> str:
    for column, feature in table.features.items():
        if type(feature).__name__ == "Image" or _dtype(feature) in ("binary", "large_binary"):
            return str(column)
        if isinstance(feature, dict) and "bytes" in feature:
            return str(column)
    raise origin.error(f"no column holds the bytes of images (the columns are {_columns(table)})")


def _label_column(table: "datasets.Dataset", origin: Origin) -> str:
    for column in LABEL_COLUMNS:
        if column in table.column_names:
            return column
    wanted = ", ".join(LABEL_COLUMNS)
    raise origin.error(
        f"no column holds labels: there is none of {wanted} (the columns are {_columns(table)})"
    )


def _columns(table: "datasets.Dataset") -> str:
    return ", ".join(table.column_names)


def _dtype(feature: object) -> str:
    return str(getattr(feature, "dtype", ""))


def _labels(table: "datasets.Dataset", column: str, split: str, origin: Origin) -> NDArray[np.int64]:
    kind = _dtype(table.features[column])
    values = table.data.column(column)
    # A column of integers with a null has often been converted to floats.
    missing = sum(chunk.is_null(nan_is_null=True).true_count for chunk in values.chunks)
    words = f"{missing} label{'s' if missing > 1 else ''} of {split} {'are' if missing > 1 else 'is'} missing"
    if not kind.startswith(("int", "uint")):
        example = next((value.as_py() for value in values if value.is_valid), None)
        right = f"the column {column} of {split} must hold integers from 0, not {kind} ({example!r})"
        raise origin.error(f"{right}; {words}" if missing else right)
    if missing:
        raise origin.error(words)
    labels: NDArray[np.int64] = np.asarray(table.with_format("numpy")[column][:], np.int64)
    return labels


def _check_labels(y: dict[str, NDArray[np.int64]], classes: int, named: bool, origin: Origin) -> None:
    there = np.unique(np.concatenate(list(y.values())))
    if there[0] < 0 or there[-1] >= classes:
        wrong = there[0] if there[0] < 0 else there[-1]
        raise origin.error(f"a label is {wrong}; labels must be 0 to {classes - 1}")
    if not named and len(there) < classes:
        # Numbers with gaps are not classes, but years or identifiers, say.
        gap = int(np.setdiff1d(np.arange(min(classes, len(there) + 1)), there)[0])
        raise origin.error(f"labels go up to {there[-1]}, but none is {gap}; they must be 0, 1, 2, ...")
    if classes < 2:
        raise origin.error("all labels are the same; at least two classes are needed")


def _encoded(
    table: "datasets.Dataset", column: str, split: str, origin: Origin
) -> Iterator[tuple[str, bytes]]:
    """For each image, its name in errors and its bytes."""
    from datasets import Image

    if type(table.features[column]).__name__ == "Image":
        table = table.cast_column(column, Image(decode=False))
    row = 0
    for batch in table.select_columns(column).iter(batch_size=1000):
        for value in batch[column]:
            where = f"image {row} of {split}"
            data = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(data, bytes):
                raise origin.error(f"{where} has no bytes")
            yield where, data
            row += 1
