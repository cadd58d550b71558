"""The forms in which people share image data sets: tables of images, and folders of classes."""

from pathlib import Path

import numpy as np

from dml.data.decode import Origin, decode_images
from dml.data.image_tables import images_of_tables
from dml.data.images import Images
from dml.data.source import SPLITS, HubImages
from dml.data.table_files import check_both, tables_in
from dml.files import read_bytes

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}

MAX_BYTES = 1_000_000_000
"""Size of the largest image file that is read; PIL refuses most images of that size."""


def read_image_folder(
    path: Path, origin: Origin, *, hub: HubImages | None = None, scratch: Path | None = None
) -> Images:
    """The images of a folder: parquet or arrow files, or ``train/<class>/`` and ``test/<class>/``.

    Args:
        path: the folder.
        origin: the field that names the folder.
        hub: the data set on the hub, which tells the columns, if it is known.
        scratch: a folder for intermediate files.

    Raises:
        InputError: there are no such files, they are damaged, or they hold no images with integer labels.
        OSError: a folder cannot be listed.
    """
    # Tables first: a folder of tables may also hold pictures, but folders of classes hold no tables.
    with tables_in(path, origin, SPLITS, scratch) as tables:
        if tables is not None:
            return images_of_tables(tables, origin, hub)
    folders = {s: sorted(p for p in path.glob(f"{s}/*") if _is_class_folder(p)) for s in SPLITS}
    if any(folders.values()):
        check_both(folders, path, "{}/<class>/ with images", origin)
        return _read_class_folders(folders, origin)
    wanted = "train*.parquet and test*.parquet, nor images in train/<class>/ and test/<class>/"
    raise origin.error(f"{path} holds neither {wanted}")


def _is_class_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _read_class_folders(folders: dict[str, list[Path]], origin: Origin) -> Images:
    """Images from one folder per class; the labels number the folders' names in sorted order."""
    classes = sorted({p.name for paths in folders.values() for p in paths})
    if len(classes) < 2:
        raise origin.error("all labels are the same; at least two classes are needed")
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
            raise origin.error(f"no image in {split}/<class>/ ({', '.join(sorted(ENDINGS))})")
        encoded = ((str(file), _bytes_of(file, origin)) for file, _ in files)
        x[split] = decode_images(encoded, len(files), shape, origin)
        shape = x[split].shape[1:]
        y[split] = np.array([label for _, label in files], np.int64)
    return Images(x["train"], y["train"], x["test"], y["test"], tuple(classes))


def _bytes_of(file: Path, origin: Origin) -> bytes:
    if file.is_dir():
        raise origin.error(f"{file} is a folder, not an image")
    try:
        return read_bytes(file, MAX_BYTES)
    except OSError as error:
        raise origin.error(f"{file} cannot be read ({error.strerror})") from None
