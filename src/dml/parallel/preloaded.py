"""The imports that workers share: the process from which they are forked imports this module.

A module that cannot be imported is skipped. An experiment that needs it fails later, and says why.

This process ends with the pool, and whatever was forked from it ends with this one: a pool that is killed
leaves neither workers nor the server of its shared objects. Busy workers get SIGTERM, so they save their
round.
"""

import contextlib
import importlib
import os
import signal
from functools import partial

from dml.parallel.watch import end_with_parent

end_with_parent(number=signal.SIGTERM)
os.register_at_fork(after_in_child=partial(end_with_parent, number=signal.SIGTERM))

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
# Now, since what has just been imported is what the workers run, also if somebody then changes a file.
with contextlib.suppress(Exception):
    importlib.import_module("dml.code_hash").read_sources()
