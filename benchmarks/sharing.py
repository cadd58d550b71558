"""One experiment that two processes share, over the same one in one process."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mnist_shaped
import numpy as np
from timing import ROOT, Row, interleaved, median, ratio, run

from dml.results import load

MAIN = str(ROOT / "src" / "experiments" / "decentralized_main.py")
ROUNDS = 6


def rows(quick: bool, folder: Path) -> Iterator[Row]:
    """33 nodes of an MNIST MLP, each process with one thread."""
    data, repeats = folder / "shared-mnist", 1 if quick else 5
    mnist_shaped.make(data, *((660, 100) if quick else (33 * 400, 1000)))
    rounds: dict[int, list[float]] = {1: [], 2: []}
    cases = {str(shards): partial(_run, data, folder, shards, rounds[shards]) for shards in rounds}
    interleaved(cases, repeats)
    # The first run of each, which also converts the images, does not count.
    own, shared = (of[1:] for of in rounds.values())
    note = f"a round: {1e3 * median(shared):.0f} ms; one process: {1e3 * median(own):.0f} ms"
    yield Row("2 shards of 1 thread, MNIST MLP, 33 nodes", ratio(shared, own), "x", 0.6, note)


def _run(data: Path, folder: Path, shards: int, seconds: list[float]) -> None:
    """One run; adds the median time of its rounds, without that of starting."""
    out = folder / f"shards-{shards}"
    flags = {
        "dataset": data,
        "model": "mnist_mlp",
        "topology_file": "barabasi_albert:n=33,m=2",
        "rounds": ROUNDS,
        "epochs": 1,
        "eval_every": 100,
        "checkpoint_every": 100,
        "engine": "loop",
        "threads": 1,
        "shards": shards,
        "out_dir": out,
    }
    run(MAIN, "--fresh", *(str(word) for flag, value in flags.items() for word in (f"--{flag}", value)))
    (path,) = out.glob("*.h5")
    # The last round is measured.
    seconds.append(float(np.median(load(path).record().round_s[:-1])))
