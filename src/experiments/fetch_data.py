#!/usr/bin/env python
"""Fetches image data sets once, on a machine with a network (a login node); runs never use a network.

python src/experiments/fetch_data.py mnist cifar10
python src/experiments/fetch_data.py mnist --source ~/Downloads/mnist    # from files that are here already
"""

import sys

from dml.data.fetch_main import main
from dml.guard import guard

if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]))
