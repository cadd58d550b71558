#!/usr/bin/env python
"""Computes the part of one node for tl_orchestrator.py, on the samples of this node.

python src/experiments/tl_node.py --node_id 0 --num_nodes 3
python src/experiments/tl_node.py --node_id 1 --first_id 1 --num_nodes 3 --host 10.0.0.1 --port 12345
"""

import sys

from dml.guard import guard
from dml.traversal_network.node import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]), go_on="run the same command to go on")
