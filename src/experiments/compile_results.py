#!/usr/bin/env python
"""Summarises a folder of results: prints a table, and writes summary.csv, summary.h5 and a picture.

python src/experiments/compile_results.py results/quickstart
"""

import sys

from dml.guard import guard
from dml.results.main import compile_results

if __name__ == "__main__":
    guard(lambda: compile_results(sys.argv[1:]))
