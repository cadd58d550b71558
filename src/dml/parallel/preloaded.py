"""The imports that workers share: the process from which they are forked imports this module.

A module that cannot be imported is skipped. An experiment that needs it fails later, and says why.
"""

import contextlib
import importlib

for _module in (
    "parsl.executors.high_throughput.process_worker_pool",
    "dml.parallel.worker",
    "dml.experiment",
    # The library imports these only when it makes a graph or coefficients.
    "networkx",
    "scipy.sparse",
):
    with contextlib.suppress(Exception):
        importlib.import_module(_module)
