#!/usr/bin/env python
"""Prints a table of how fast an accelerator runs our experiments, and whether its results are right.

python benchmarks/gpu.py                         # the first card of this machine; takes some minutes
python benchmarks/gpu.py --device xpu:0 --parts equality steps
python benchmarks/gpu.py --device cpu --quick    # checks that the program runs; its numbers mean nothing

A row in x is the median of the ratios of two times that are taken in turn in one process. The data are random
images in the shapes and sizes of MNIST and CIFAR-10. ``-`` stands for a number that cannot be measured on
this device.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import device as parts
import mnist_shaped
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from device import LABELS, NOT, Bench
from PIL import Image
from timing import Row, line
from torch.profiler import ProfilerActivity, profile

from dml import accelerators, results
from dml.errors import InputError
from dml.results import checkpoint


def equality(bench: Bench) -> Iterator[Row]:
    """The same experiment on this device and on the CPU, by both engines."""
    flags = {"rounds": 5, "epochs": 1 if bench.quick else 2, "backdoor": True, "threads": 1, "lr": 0.01}
    for engine in ("loop", "batched"):
        files = [bench.run(device, engine=engine, **flags) for device in (torch.device("cpu"), bench.device)]
        found = [results.load(path) for path in files]
        saved = [
            checkpoint.read(checkpoint.path_of(p), r.attributes["experiment_id"])
            for p, r in zip(files, found, strict=True)
        ]
        reference, other = (each.X for each in saved if each is not None)
        apart = float(np.abs(other - reference).max() / np.abs(reference).max())
        accuracy = [np.nan_to_num(r.arrays["metrics/test_acc"]) for r in found]
        points = 100 * float(np.abs(accuracy[1] - accuracy[0]).max())
        what = f"digits, {bench.nodes} nodes, {engine}, against the CPU"
        note = (
            f"after 5 rounds, over the largest parameter; "
            f"the nodes' test accuracies differ by up to {points:.2f} points"
        )
        yield Row(f"{what}: parameters", 1e6 * apart, "ppm", 100, note)


def experiments(bench: Bench) -> Iterator[Row]:
    """Whole experiments, in seconds."""
    train, test = (600, 100) if bench.quick else (60_000, 10_000)
    mnist, cifar = str(bench.folder / "mnist"), str(bench.folder / "cifar")
    mnist_shaped.make(Path(mnist), train, test)
    _coloured(Path(cifar), *((100, 40) if bench.quick else (50_000, 10_000)))
    rounds, few = (1, 1) if bench.quick else (40, 5)
    cases = {
        f"MNIST-shaped, {rounds} x 5 epochs": (
            60,
            {"dataset": mnist, "model": "mnist_mlp", "rounds": rounds},
        ),
        f"TinyMem, {few} rounds": (None, {"dataset": "tiny_mem", "rounds": few}),
        "CIFAR-shaped VGG-16, 1 epoch": (
            None,
            {"dataset": cifar, "model": "vgg16", "rounds": 1, "epochs": 1},
        ),
    }
    small = {"n_layer": 1, "num_example": 20, "num_test": 4} if bench.quick else {"num_example": 400}
    for what, (goal, flags) in cases.items():
        flags |= small if flags["dataset"] == "tiny_mem" else {}
        started = time.perf_counter()
        path = bench.run(**flags, keep_checkpoint=False, backdoor=True)
        seconds = time.perf_counter() - started
        loaded = results.load(path)
        inside = float(loaded.arrays["time/round_s"].sum())
        note = f"{inside:.1f} s in its rounds, measured each epoch; engine {loaded.segments[0]['engine']}"
        yield Row(f"{what}, {bench.nodes} nodes", seconds, "s", None if bench.quick else goal, note)


def _coloured(folder: Path, train: int, test: int) -> None:
    """Writes random colour images of 32 x 32 pixels."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, count in {"train": train, "test": test}.items():
        rows = []
        for _ in range(count):
            file = io.BytesIO()
            Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(file, "PNG")
            rows.append({"bytes": file.getvalue(), "path": ""})
        table = pa.table({"image": rows, "label": pa.array(np.arange(count) % LABELS)})
        pq.write_table(table, folder / f"{name}.parquet")


def busy(bench: Bench) -> Row:
    """The share of the time of an experiment's rounds in which the card computes."""
    flags = {"rounds": 1 if bench.quick else 10, "keep_checkpoint": False, "backdoor": True}
    bench.run(**flags)
    seconds = float(results.load(bench.run(**flags)).arrays["time/round_s"].sum())
    what = "one digits experiment: the card is busy"
    if bench.device.type == "cpu":
        return Row(what, NOT, "%", None, f"{seconds:.2f} s in its rounds; a CPU has no kernels to count")
    kind = getattr(ProfilerActivity, bench.device.type.upper())
    # Only the card's kernels: recording the host's calls would slow them down.
    with profile(activities=[kind]) as profiler:
        bench.run(**flags)
        bench.wait()
    kernels = 1e-6 * sum(event.self_device_time_total for event in profiler.key_averages())
    note = f"{kernels:.2f} s of kernels (profiled) in {seconds:.2f} s of rounds (not profiled)"
    return Row(what, 100 * kernels / seconds, "%", None, note)


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "equality": equality,
    "engines": parts.engines,
    "repeatable": parts.repeatable,
    "precision": parts.precision,
    "busy": lambda bench: iter([busy(bench)]),
    "mixing": parts.mixing,
    "experiments": experiments,
    # This one is last, because a capture that fails may leave the device unusable.
    "steps": parts.steps,
}


def main() -> int:
    """Measures all rows and prints them as they come; a part that fails is reported, and the others run."""
    parser = argparse.ArgumentParser(description="How fast an accelerator runs our experiments.")
    parser.add_argument("--device", default="auto", help="as --accelerator: auto, cuda:0, xpu:0, cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that it runs")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only some parts of the table"
    )
    arguments = parser.parse_args()
    try:
        device = accelerators.choose(arguments.device)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.device == "auto" and device.type == "cpu":
        print("no accelerator here, so nothing was measured; --device cpu --quick checks that this runs")
        return 0
    torch.set_num_threads(1)
    deterministic = accelerators.prepare(device)
    print(f"{date.today()}, {accelerators.describe(device)}, deterministic: {deterministic}")
    print(f"torch {torch.__version__}; load average {os.getloadavg()[0]:.1f}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="dml-gpu-", ignore_cleanup_errors=True) as folder:
        bench = Bench(device, arguments.quick, Path(folder))
        for part in arguments.parts:
            print(f"\n{part}", flush=True)
            try:
                for row in PARTS[part](bench):
                    print(line(row), flush=True)
            except Exception as error:
                failed += 1
                print(f"failed: {type(error).__name__}: {error}", flush=True)
            with contextlib.suppress(RuntimeError):
                bench.wait()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
