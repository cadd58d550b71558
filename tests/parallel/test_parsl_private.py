"""The names of Parsl that its documentation does not promise are there, and mean what they are taken for."""

import inspect
import multiprocessing
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import parsl
import parsl.multiprocessing
import pytest
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput import executor as high_throughput

from dml.parallel import parsl_private

HELP = (
    f"Parsl {parsl.__version__} is not as Parsl {parsl_private.CHECKED} was. Look for what replaces these "
    "names, adapt dml/parallel/parsl_private.py, run tests/parallel, and set CHECKED there: "
)


def test_the_pinned_version_is_the_one_that_was_checked() -> None:
    requirements = Path(__file__).parents[2] / "requirements-hpc.txt"
    assert f"parsl=={parsl_private.CHECKED}\n" in requirements.read_text(), (
        "requirements-hpc.txt pins another Parsl: run tests/parallel with it, then set CHECKED in "
        "dml/parallel/parsl_private.py"
    )


def test_the_names_are_there() -> None:
    pool = Path(inspect.getfile(high_throughput)).with_name(parsl_private.POOL)
    found = {
        "parsl.multiprocessing.SpawnContext": hasattr(parsl.multiprocessing, "SpawnContext"),
        f"the script {parsl_private.POOL}": pool.is_file(),
        "the import of SpawnContext by that script": "import SpawnContext" in pool.read_text(),
        "DEFAULT_LAUNCH_CMD, which begins with that script": high_throughput.DEFAULT_LAUNCH_CMD.startswith(
            parsl_private.POOL
        ),
    }
    executor = HighThroughputExecutor(address="127.0.0.1", encrypted=False)
    for name in ("interchange_proc", "interchange_launch_cmd", "launch_cmd"):
        found[f"HighThroughputExecutor.{name}"] = hasattr(executor, name)
    for name in ("available_accelerators", "cpu_affinity"):
        found[f"HighThroughputExecutor.{name}"] = hasattr(executor, name)
    missing = [name for name, there in found.items() if not there]
    assert not missing, HELP + ", ".join(missing)


def test_the_pools_context_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsl.multiprocessing, "SpawnContext", None)
    context = multiprocessing.get_context("forkserver")
    parsl_private.start_workers_from(context)
    assert parsl.multiprocessing.SpawnContext is context


def test_an_interchange_that_has_ended_is_noticed() -> None:
    executor = HighThroughputExecutor(address="127.0.0.1", encrypted=False)
    config = SimpleNamespace(executors=[SimpleNamespace(), executor])
    assert not parsl_private.interchange_has_ended(config), "one that was not started has not ended"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        executor.interchange_proc = process
        assert not parsl_private.interchange_has_ended(config)
        process.communicate(b"\n")
    assert parsl_private.interchange_has_ended(config)
