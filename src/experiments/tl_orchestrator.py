#!/usr/bin/env python
"""Trains one model by Traversal Learning on the data of nodes in other processes, and writes one HDF5 file.

python src/experiments/tl_orchestrator.py --num_nodes 3 --epochs 10 --batch_size 64 --lr 0.01 --gamma 0.7
python src/experiments/tl_orchestrator.py --num_nodes 3 --mode cut=2 --on_lost abort --deadline 20
"""

import sys

from dml.guard import guard
from dml.traversal_network.orchestrator import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]), go_on="run the same command to continue from the last checkpoint")
