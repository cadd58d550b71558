"""Whole experiments on many nodes, and on large models: time per node, and memory.

Each runs in a process of its own, whose peak memory nothing else raises:
``python benchmarks/scale.py '{"rounds": 2, ...}'``.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mnist_shaped
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits
from timing import Row, median, ratio, run

from dml.data.config import DataConfig
from dml.data.load import describe_dataset

SAMPLES = 43
"""Training images per node, as digits have on 33 nodes."""

EPOCHS = 5


def rows(quick: bool, folder: Path) -> Iterator[Row]:
    """The cost per node among many nodes, the memory of very many nodes, and that of large models."""
    few, many, most = (33, 256, 512) if quick else (33, 4096, 16384)
    yield _cost_of_a_node(few, many, 1 if quick else 3, folder)
    yield _very_many(most, folder)
    yield _large_models(quick, folder)


def _cost_of_a_node(few: int, many: int, repeats: int, folder: Path) -> Row:
    """The time of the rounds, which train, measure and aggregate; few nodes take more rounds."""
    found: dict[int, list[float]] = {few: [], many: []}
    for repeat in range(repeats):
        for n in (few, many)[:: -1 if repeat % 2 else 1]:
            rounds = 40 if n == few else 2
            seconds = _experiment(folder, digits(folder, n), n, rounds=rounds)["rounds_s"]
            found[n].append(seconds / (rounds * EPOCHS * n))
    note = ", ".join(f"{1e6 * median(times):.0f} us per node of {n:,}" for n, times in found.items())
    what = f"experiment, digits MLP, per node of {many:,}"
    return Row(what, ratio(found[many], found[few]), "x", 1.3, f"an epoch and its measurement: {note}")


def _very_many(n: int, folder: Path) -> Row:
    found = _experiment(
        folder,
        digits(folder, n),
        n,
        rounds=2,
        aggregation_strategy="degCent",
        softmax=True,
        backdoor=True,
    )
    note = (
        f"{found['seconds']:.0f} s, {1e6 * found['rounds_s'] / (2 * EPOCHS * n):.0f} us per node and epoch; "
        f"result {found['result'] / 1e6:.1f} MB, checkpoint {found['checkpoint'] / 1e6:.0f} MB"
    )
    return Row(f"experiment, {n:,} nodes: peak memory", found["peak"] / 2**30, "GiB", 8, note)


def _large_models(quick: bool, folder: Path) -> Row:
    n, train, test = (8, 600, 100) if quick else (33, 12_000, 2_000)
    data = folder / "mnist-shaped"
    mnist_shaped.make(data, train, test)
    found = _experiment(folder, data, n, model="mnist_mlp", rounds=1, epochs=1, batch_size=64, lr=0.01)
    held = found["models"] + 4 * 28 * 28 * (train + test)
    extra = found["peak"] - found["torch"]
    note = f"{extra / 2**20:,.0f} MiB beyond a process with torch; models and data {held / 2**20:,.0f}"
    return Row(f"experiment, MNIST MLP, {n} nodes: memory", extra / held, "x", 3, note)


def digits(folder: Path, n: int) -> Path:
    """A folder of images for n nodes: digits' training images again and again, and its 360 test images."""
    made = folder / f"digits-{n}"
    if made.exists():
        return made
    made.mkdir()
    known = load_digits()
    encoded = [{"bytes": _png(image), "path": None} for image in known.images]
    test = len(encoded) - 360
    for name, chosen in (
        ("train", np.resize(np.arange(test), SAMPLES * n)),
        ("test", np.arange(test, len(encoded))),
    ):
        table = pa.table({"image": [encoded[k] for k in chosen], "label": known.target[chosen]})
        pq.write_table(table, made / f"{name}.parquet")
    return made


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _experiment(folder: Path, data: Path, n: int, **flags: Any) -> dict[str, float]:
    """Runs one experiment in a fresh process, after its images have been converted."""
    kept = folder / "data"
    with contextlib.redirect_stderr(io.StringIO()):
        describe_dataset(DataConfig(dataset=str(data), data_dir=kept))
    given = {
        "dataset": str(data),
        "data_dir": str(kept),
        "out_dir": str(folder / f"scale-{time.monotonic_ns()}"),
        "topology_file": f"watts_strogatz:n={n},k=4,p=0.1,seed=0",
        "epochs": EPOCHS,
        "batch_size": 16,
        "lr": 0.05,
        "sample_alpha": 1000.0,
        "label_alpha": 1000.0,
    }
    found: dict[str, float] = json.loads(run(str(Path(__file__)), json.dumps(given | flags)))
    return found


def main(flags: dict[str, Any]) -> None:
    """Runs one experiment, and prints its seconds and bytes as JSON."""
    import torch  # noqa: F401

    with_torch = _peak()
    from dml import config, experiment
    from dml.results import load

    started = time.perf_counter()
    path = experiment.run(config.make(flags))
    found = {"seconds": time.perf_counter() - started, "peak": _peak(), "torch": with_torch}
    result, checkpoint = load(path), path.with_suffix(".ckpt")
    if result.attributes["status"] != "complete":
        raise RuntimeError(f"{path} is {result.attributes['status']}")
    found |= {"rounds_s": float(result.arrays["time/round_s"].sum())}
    found |= {"result": path.stat().st_size, "checkpoint": checkpoint.stat().st_size}
    import h5py

    with h5py.File(checkpoint, "r", locking=False) as file:
        found["models"] = file["X"].nbytes
    print(json.dumps(found))


def _peak() -> int:
    """The peak of this process's resident memory, in bytes."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
