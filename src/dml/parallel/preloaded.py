"""What workers have imported before they start: the process that they are forked from imports this module.

What cannot be imported is left out: an experiment that needs it fails by itself, and says why.
"""

import contextlib
import importlib

for _module in (
    "parsl.executors.high_throughput.process_worker_pool",
    "dml.parallel.worker",
    "dml.experiment",
):
    with contextlib.suppress(Exception):
        importlib.import_module(_module)
