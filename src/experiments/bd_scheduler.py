#!/usr/bin/env python
"""Runs a sweep of experiments on Parsl workers: one HDF5 file each, and a table at the end.

python src/experiments/bd_scheduler.py --preset quickstart
python src/experiments/bd_scheduler.py --rounds 40 --parsl_config aurora
python src/experiments/bd_scheduler.py --dry_run
"""

import sys
from pathlib import Path

from dml.guard import guard
from dml.parallel.main import main

SITES = Path(__file__).resolve().parents[2] / "parsl_configs"

if __name__ == "__main__":
    guard(
        lambda: main(sys.argv[1:], SITES),
        go_on="run the same command to continue with the missing experiments",
    )
