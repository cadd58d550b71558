#!/usr/bin/env python
"""Prints a table of speed and memory, over bare PyTorch, with the goals.

python benchmarks/run.py            # takes six minutes or more
python benchmarks/run.py --quick    # checks that the program runs; its numbers mean little
python benchmarks/run.py --parts algorithms mixing

A ratio is the median over repeats that take both of its times in turn in one process, so that other load on
the machine slows both alike. The times of whole programs are those of one machine at one moment.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import algorithms
import checkpoints
import events
import mixing
import network
import network_traversal
import peers
import programs
import scale
import sharing
import torch
import training
import traversal
import update_send
from timing import Row, line

PARTS: dict[str, Callable[[int, bool, Path], Iterable[Row]]] = {
    "training": lambda cores, quick, folder: training.rows(cores, quick),
    "mixing": lambda cores, quick, folder: mixing.rows(cores, quick),
    "algorithms": lambda cores, quick, folder: algorithms.rows(quick),
    "events": lambda cores, quick, folder: events.rows(quick),
    "traversal": lambda cores, quick, folder: traversal.rows(quick),
    "network": lambda cores, quick, folder: network.rows(quick),
    "sharing": lambda cores, quick, folder: sharing.rows(quick, folder),
    "network_traversal": lambda cores, quick, folder: network_traversal.rows(quick),
    "peers": lambda cores, quick, folder: peers.rows(quick),
    "update_send": lambda cores, quick, folder: update_send.rows(quick),
    "checkpoints": lambda cores, quick, folder: checkpoints.rows(cores, quick, folder),
    "scale": lambda cores, quick, folder: scale.rows(quick, folder),
    "programs": lambda cores, quick, folder: programs.rows(quick, folder),
}


def main() -> int:
    """Measures all rows and prints them as they come."""
    parser = argparse.ArgumentParser(description="A table of ratios over bare PyTorch, with the goals.")
    parser.add_argument("--quick", action="store_true", help="few repeats and a small sweep")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only some of the table"
    )
    arguments = parser.parse_args()
    # When it is stopped, it stops the program that it is timing, and removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = len(os.sched_getaffinity(0))
    print(f"{date.today()}, {_cpu()}, {cores} cores")
    print(f"torch {torch.__version__}, Python {platform.python_version()}; load average {_load()} before")
    print(f"\n{'row':<47}{'measured':>10}{'goal':>11}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dml-bench-", ignore_cleanup_errors=True) as folder:
        for part in arguments.parts:
            for row in PARTS[part](cores, arguments.quick, Path(folder)):
                print(line(row), flush=True)
    print(f"\nload average {_load()} after")
    return 0


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
