#!/usr/bin/env python
"""Runs an experiment with one process per node on this machine, and writes one HDF5 file.

python src/experiments/launch_peers.py --topology_file cycle:n=4 --rounds 3 --compare
"""

import sys

from dml.guard import guard
from dml.peers.launch import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]), go_on="run the same command to continue from the last checkpoint")
