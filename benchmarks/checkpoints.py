"""The time of a checkpoint with its digest, over that of the same file without one."""

import os
import time
from pathlib import Path

import numpy as np
from timing import Row, interleaved, median, ratio

from dml.results import files
from dml.results.sealed import Content


def rows(cores: int, quick: bool, folder: Path) -> list[Row]:
    """Checkpoints of small and of large models, on all cores and on one."""
    large = 50_000 if quick else 5_074_000
    repeats = 2 if quick else 9
    found = [
        _row("checkpoint digits MLP, 33 nodes", 4_816, 3 * repeats, folder),
        _row(f"checkpoint MNIST MLP, 33 nodes, {cores} cores", large, repeats, folder),
    ]
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            found.append(_row("checkpoint MNIST MLP, 33 nodes, 1 core", large, repeats, folder, goal=None))
        finally:
            os.sched_setaffinity(0, before)
    return found


def _row(what: str, width: int, repeats: int, folder: Path, goal: float | None = 1.05) -> Row:
    content, path = Content({"": {"rounds": 1}}), folder / "a.ckpt"
    content.put("X", np.random.default_rng(0).standard_normal((33, width), np.float32))
    content.put("algorithm/passes", np.zeros(33, np.int64))
    content.put("edge_bytes", np.zeros((64, 2), np.int64))

    def plain() -> None:
        def fill(file: "files.h5py.File") -> None:
            file.attrs["rounds"] = 1
            for name, array in content.arrays.items():
                files.put(file, name, array)

        files.write(path, fill, content.size)

    cases = {"digest": lambda: content.write(path), "plain": plain}
    seconds = interleaved(cases, repeats)
    busy = interleaved(cases, repeats, time.process_time)
    path.unlink()
    wall, cpu = (
        f"{1e3 * median(taken['digest']):.1f} ms, without {1e3 * median(taken['plain']):.1f} ms"
        for taken in (seconds, busy)
    )
    note = f"{content.size / 2**20:.1f} MiB; {wall}; processor time {cpu}"
    return Row(f"{what}: digest", ratio(seconds["digest"], seconds["plain"]), "x", goal, note)
