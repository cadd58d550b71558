"""X <- C X of 33 MNIST MLPs: its memory and its time.

It is a program, so that nothing else raises the peak of its memory.
"""

import json
import os
import sys
from pathlib import Path

import psutil
import torch
from nodes import average_of, population_of
from timing import Row, interleaved, median, ratio, run

from dml import topology
from dml.models.registry import build_model

SPARSE, DENSE = "barabasi_albert:n={n},m=2,seed=0", "complete:n={n}"


def rows(cores: int, quick: bool) -> list[Row]:
    """Measured in a fresh process, whose peak nothing else has raised."""
    repeats, nodes = (2, 4) if quick else (9, 33)
    found, dense = (
        json.loads(run(str(Path(__file__)), str(cores), str(repeats), graph.format(n=nodes)))
        for graph in (SPARSE, DENSE)
    )
    what = f"mixing MNIST MLP {nodes} x 5 M"
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
    """The peak of this process's resident memory since :func:`_forget_peak`, in bytes."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(threads: int, repeats: int, spec: str) -> None:
    """Prints what was measured as JSON."""
    torch.set_num_threads(threads)
    graph = topology.make(spec)
    population = population_of(lambda: build_model("mnist_mlp", (1, 28, 28), 10), graph.n)
    _forget_peak()
    before = psutil.Process(os.getpid()).memory_info().rss
    average = average_of(population, graph)
    average()
    extra = _peak() - before
    other = torch.empty_like(population.X)
    seconds = interleaved({"mix": average, "copy": lambda: other.copy_(population.X)}, repeats)
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
