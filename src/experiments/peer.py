#!/usr/bin/env python
"""Runs one node of an experiment; the other nodes are such processes, on this host or on others.

python src/experiments/peer.py --node 3 --peers peers.yaml
"""

import sys

from dml.guard import guard
from dml.peers.peer import main_of

if __name__ == "__main__":
    guard(lambda: main_of(sys.argv[1:]), go_on="run the same commands to continue from the last checkpoint")
