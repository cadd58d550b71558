#!/usr/bin/env python
"""Prints what a sweep is doing: how many experiments are done, what runs, what has failed.

python src/experiments/status.py results/quickstart
python src/experiments/status.py results/quickstart --watch
"""

import sys

from dml.guard import guard
from dml.parallel.status_main import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]))
