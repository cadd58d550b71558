"""X <- C X of 33 MNIST MLPs: its memory and its time. Runs as a program of its own, for its memory's sake."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import torch
from timing import Row, interleaved, median, ratio, run

from dml import topology
from dml.algorithms.decentralized import Decentralized
from dml.coefficients.config import StrategyConfig
from dml.models.registry import build_model
from dml.population import Population

NODES = 33
SPARSE, DENSE = f"barabasi_albert:n={NODES},m=2,seed=0", f"complete:n={NODES}"


def rows(cores: int, quick: bool) -> list[Row]:
    """Measured in a fresh process, whose peak nothing else has raised."""
    repeats = str(2 if quick else 9)
    found = json.loads(run(str(Path(__file__)), str(cores), repeats, SPARSE))
    dense = json.loads(run(str(Path(__file__)), str(cores), repeats, DENSE))
    what = f"mixing MNIST MLP {NODES} x 5 M"
    memory = (
        f"peak RSS in a fresh process +{found['extra'] / 2**20:.0f} MiB; X is {found['size'] / 2**20:.0f} MiB"
    )
    return [
        Row(f"{what}: memory over X", 100 * found["extra"] / found["size"], "%", 10, memory),
        Row(f"{what}: time over copy_", found["ratio"], "x", 3.5, _times(found, cores)),
        Row("  the same on the complete graph", dense["ratio"], "x", None, _times(dense, cores)),
    ]


def _times(found: dict[str, float], cores: int) -> str:
    return f"{found['mix']:.2f} s, {cores} threads; copy_ of the same bytes {found['copy']:.2f} s"


def _peak() -> int:
    """The most this process has had resident since :func:`_forget_peak`, in bytes."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(threads: int, repeats: int, spec: str) -> None:
    """Prints what was measured as JSON."""
    torch.set_num_threads(threads)
    graph = topology.make(spec)
    population = Population(lambda: build_model("mnist_mlp", (1, 28, 28), 10), NODES, seed=0, same=False)
    strategy = StrategyConfig(aggregation_strategy="unweighted")
    samples = np.ones(NODES, np.int64)
    algorithm = Decentralized(graph, population, strategy, samples, 0)
    C = algorithm.coefficients(0, np.ones(NODES, bool))
    _forget_peak()
    before = psutil.Process(os.getpid()).memory_info().rss
    population.mix(C)
    extra = _peak() - before
    other = torch.empty_like(population.X)
    seconds = interleaved(
        {"mix": lambda: population.mix(C), "copy": lambda: other.copy_(population.X)}, repeats
    )
    found = {
        "extra": extra,
        "size": population.X.nbytes,
        "mix": median(seconds["mix"]),
        "copy": median(seconds["copy"]),
        "ratio": ratio(seconds["mix"], seconds["copy"]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
