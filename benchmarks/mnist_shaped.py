#!/usr/bin/env python
"""Makes a data set in the shape of MNIST, for machines that cannot download MNIST itself.

python benchmarks/mnist_shaped.py FOLDER [--train 60000] [--test 10000]
python src/experiments/decentralized_main.py --dataset FOLDER --model mnist_mlp

scikit-learn's 1,797 digits of 8 x 8 pixels are split into 1,437 for training and 360 for the test. They are
enlarged to 28 x 28 again and again, each time with another rotation, shift and noise. The folder holds PNG
images in parquet files, the usual form of shared image sets. The set is as large as MNIST, and easier.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIDE, TURN, MOVE, NOISE = 28, 15.0, 3.0, 20.0
"""Pixels per side; the largest rotation in degrees, and shift in pixels; the noise's standard deviation."""


def make(folder: Path, train: int, test: int) -> None:
    """Writes ``train.parquet`` and ``test.parquet``; equal sizes always give equal images."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": (order[:1437], train), "test": (order[1437:], test)}
    for number, (name, (originals, count)) in enumerate(parts.items()):
        rng = np.random.default_rng([1, number])
        chosen = rng.permutation(np.resize(originals, count))
        rows = [
            {"bytes": _png(digits.images[k], rng), "path": f"{name}{i}.png"} for i, k in enumerate(chosen)
        ]
        table = pa.table({"image": rows, "label": pa.array(digits.target[chosen])})
        pq.write_table(table, folder / f"{name}.parquet")


def _png(image: NDArray[np.float64], rng: np.random.Generator) -> bytes:
    small = Image.fromarray((image * (255 / 16)).astype(np.uint8))
    move = rng.uniform(-MOVE, MOVE, 2)
    large = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    moved = large.rotate(
        rng.uniform(-TURN, TURN), Image.Resampling.BILINEAR, translate=(int(move[0]), int(move[1]))
    )
    noisy = np.asarray(moved) + rng.normal(0, NOISE, (SIDE, SIDE))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def main() -> None:
    """Reads the sizes and makes the folder."""
    parser = argparse.ArgumentParser(description="A folder of images in the shape of MNIST, from digits.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--train", type=int, default=60_000, help="training images (default: as many as MNIST)"
    )
    parser.add_argument("--test", type=int, default=10_000, help="test images (default: as many as MNIST)")
    arguments = parser.parse_args()
    if min(arguments.train, arguments.test) < 1:
        parser.error("--train and --test must be at least 1")
    make(arguments.folder, arguments.train, arguments.test)
    print(arguments.folder)


if __name__ == "__main__":
    main()
