"""The imports that workers share: the process from which they are forked imports this module.

A module that cannot be imported is left out. An experiment that needs it fails by itself, and says why.
"""

import contextlib
import importlib

for _module in (
    "parsl.executors.high_throughput.process_worker_pool",
    "dml.parallel.worker",
    "dml.experiment",
    # Imported by the library only when a graph is made, or coefficients are.
    "networkx",
    "scipy.sparse",
):
    with contextlib.suppress(Exception):
        importlib.import_module(_module)
