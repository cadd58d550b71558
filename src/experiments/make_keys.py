#!/usr/bin/env python
"""Makes a pair of keys for each node, for nodes on several hosts. One host needs none of them.

python src/experiments/make_keys.py --num_nodes 4 --names orchestrator --out_dir keys
"""

import sys

from dml.guard import guard
from dml.network.make_keys import main

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]))
