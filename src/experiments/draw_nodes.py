#!/usr/bin/env python
"""Draws the graphs of experiments with each node coloured by what it has learned.

python src/experiments/draw_nodes.py results/quickstart/digits-barabasi_albert-n33-m2-*.h5
"""

import sys

from dml.guard import guard
from dml.results.main import draw_nodes

if __name__ == "__main__":
    guard(lambda: draw_nodes(sys.argv[1:]))
