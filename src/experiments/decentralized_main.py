#!/usr/bin/env python
"""Runs one experiment: trains a model on every node of a graph, and writes one HDF5 file.

python src/experiments/decentralized_main.py
python src/experiments/decentralized_main.py --topology_file barabasi_albert:n=33,m=2 --backdoor \\
    --aggregation_strategy degCent --softmax --rounds 40
"""

import sys

from dml.guard import guard
from dml.main import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]), go_on="run the same command to continue from the last checkpoint")
