#!/usr/bin/env python
"""Prints one table: how fast and how small we are, against bare PyTorch and against the goals.

python benchmarks/run.py            # six minutes and more
python benchmarks/run.py --quick    # whether it runs; its numbers mean little

Each ratio is the median over runs taken in turn with what it is compared with, in one process, so other
load on the machine meets both. Times of programs are of one machine and one moment.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
from datetime import date
from pathlib import Path

import algorithms
import mixing
import programs
import scale
import torch
import training
from timing import line


def main() -> int:
    """Measures all rows and prints them as they come."""
    parser = argparse.ArgumentParser(description="A table of ratios against bare PyTorch, and the goals.")
    parser.add_argument("--quick", action="store_true", help="few repeats, small sweep: does it run?")
    quick: bool = parser.parse_args().quick
    # Told to stop, it takes the program that it is timing along, and its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = len(os.sched_getaffinity(0))
    print(f"{date.today()}, {_cpu()}, {cores} cores")
    print(f"torch {torch.__version__}, Python {platform.python_version()}; load average {_load()} before")
    print(f"\n{'row':<47}{'measured':>10}{'goal':>11}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dml-bench-", ignore_cleanup_errors=True) as folder:
        for part in (
            lambda: training.rows(cores, quick),
            lambda: mixing.rows(cores, quick),
            lambda: algorithms.rows(cores, quick),
            lambda: scale.rows(quick, Path(folder)),
            lambda: programs.rows(quick, Path(folder)),
        ):
            for row in part():
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
