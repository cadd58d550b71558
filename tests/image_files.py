"""Small real image data sets: PNG files in folders, PNG bytes in parquet, as people share them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image


def pictures(count: int, side: int = 28, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """Random pixels, [count, channels, side, side]."""
    return np.random.default_rng(seed).integers(256, size=(count, channels, side, side), dtype=np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """One image, [channels, height, width], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    x: NDArray[np.uint8],
    labels: object,
    image: str = "image",
    label: str = "label",
) -> Path:
    """One file as the hub has them: a struct of bytes and path, and a column of labels."""
    rows = [{"bytes": png(picture), "path": f"{k}.png"} for k, picture in enumerate(x)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({image: rows, label: pa.array(labels)}), path)
    return path


def parquet_folder(
    path: Path, train: int = 60, test: int = 20, side: int = 28, channels: int = 1, classes: int = 10
) -> Path:
    """A folder of two training files and a test file; label k is the number of the image mod classes."""
    x = pictures(train + test, side, channels)
    y = np.arange(train + test) % classes
    half = train // 2
    write_parquet(path / "train-00000-of-00002.parquet", x[:half], y[:half])
    write_parquet(path / "train-00001-of-00002.parquet", x[half:train], y[half:train])
    write_parquet(path / "test-00000-of-00001.parquet", x[train:], y[train:])
    return path


def class_folders(
    path: Path, x: NDArray[np.uint8], y: NDArray[np.int64], split: str, names: list[str]
) -> Path:
    """Images as ``split/<class>/<number>.png``."""
    for number, (picture, label) in enumerate(zip(x, y, strict=True)):
        folder = path / split / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.png").write_bytes(png(picture))
    return path
