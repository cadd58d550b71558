"""The workers are forked from one process that has imported torch."""

from pathlib import Path

import parsl

from dml.parallel.owner import Heartbeat
from dml.parallel.sites import load_site
from dml.parallel.watch import watch_executors

SITES = Path(__file__).parents[2] / "parsl_configs"

# What a worker says of itself before it has done anything. Text, as a worker cannot import this file.
LOOK = """
import os, sys, time
import psutil
seen = {"torch": "torch" in sys.modules, "pid": os.getpid(), "parent": os.getppid()}
import torch
seen["cuda"] = torch.cuda.is_initialized()
seen["threads"] = os.environ["OMP_NUM_THREADS"]
seen["words"] = " ".join(psutil.Process(os.getppid()).cmdline())
time.sleep(0.3)  # so that the other worker takes the other task
"""


def test_workers_are_forked_from_one_process_that_has_imported_torch(tmp_path: Path) -> None:
    config = load_site("local", SITES).config({"workers": "2"}, tmp_path / ".parsl")
    with Heartbeat(tmp_path / "beat") as heart:
        watch_executors(config, heart.owner)
        with parsl.load(config) as kernel:
            evaluate = parsl.python_app(eval, data_flow_kernel=kernel)
            look = f"(lambda seen: (exec({LOOK!r}, seen), seen['seen'])[1])(dict())"
            first, second = [future.result() for future in [evaluate(look), evaluate(look)]]
    assert first["torch"]
    assert second["torch"]
    assert first["parent"] == second["parent"]
    assert first["pid"] != second["pid"]
    assert "forkserver" in first["words"]
    assert first["threads"] == "1"
    assert not first["cuda"]
