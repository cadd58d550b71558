#!/usr/bin/env python
"""Describes graphs: mixing, delays of relays, which algorithms run on them, and where knowledge spreads.

python src/experiments/describe_topology.py cycle:n=16 star:n=16 topologies/my_graph.txt
python src/experiments/describe_topology.py barabasi_albert:n=33,m=2 --source 0 --strategies degCent
"""

import sys

from dml.describe_graphs import main
from dml.guard import guard

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]))
