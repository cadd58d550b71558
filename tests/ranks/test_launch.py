"""Processes that share an experiment start together, and end together whatever ends one of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from scripts import SCRIPTS

from dml import experiment, results
from dml.config import ExperimentConfig, make

Small = Callable[..., ExperimentConfig]

MAIN = [sys.executable, str(SCRIPTS / "decentralized_main.py")]
FLAGS = {"topology_file": "cycle:n=4", "rounds": 600, "local_steps": 1, "threads": 1, "engine": "loop"}
LONGEST = 30.0
"""Seconds until all processes have ended after one has."""

pytestmark = pytest.mark.slow


def words(folder: Path, **more: object) -> list[str]:
    """The command line of the experiment."""
    flags = {**FLAGS, "eval_every": 10, "out_dir": folder, **more}
    return [*MAIN, *(word for flag, value in flags.items() for word in (f"--{flag}", str(value)))]


def begun(folder: Path) -> Path:
    """The result file, once the first checkpoint is there."""
    end = time.monotonic() + 120
    while not (found := list(folder.glob("[!.]*.ckpt"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found[0].with_suffix(".h5")


def gone(processes: list[psutil.Process]) -> None:
    """Waits until processes have ended."""
    _, left = psutil.wait_procs(processes, timeout=LONGEST)
    assert not left


@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        ("another", signal.SIGKILL, 75),
        ("first", signal.SIGKILL, -signal.SIGKILL),
        ("first", signal.SIGTERM, 75),
        ("first", signal.SIGINT, 75),
    ],
)
def test_a_rank_that_ends_ends_the_others_and_the_next_call_goes_on(
    tmp_path: Path, victim: str, number: signal.Signals, code: int
):
    folder = tmp_path / "shared"
    first = subprocess.Popen(words(folder, shards=3), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    result = begun(folder)
    others = psutil.Process(first.pid).children()
    assert len(others) == 2
    met = {Path(process.cmdline()[3]) for process in others}
    os.kill(others[0].pid if victim == "another" else first.pid, number)
    assert first.wait(LONGEST) == code
    assert first.stderr is not None
    told = first.stderr.read()
    gone(others)
    assert not [folder for folder in met if folder.exists()]
    if victim == "another":
        assert "of 3 of the experiment has ended (killed by signal 9)" in told
    assert "Traceback" not in told
    assert results.load(result).attributes["rounds_done"] < FLAGS["rounds"]
    # What is missing may be computed by another number of processes.
    done = subprocess.run(words(folder, shards=2), capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].endswith(".h5")
    whole = experiment.run(make({**FLAGS, "eval_every": 10, "out_dir": tmp_path / "whole"}))
    assert results.differences(whole, result) == []
    nodes = [[rank["nodes"] for rank in segment["ranks"]] for segment in results.load(result).segments]
    assert nodes == [[1, 1, 2], [2, 2]]


def test_processes_of_a_launcher_find_each_other(tmp_path: Path):
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    sizes = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
    call = {"PMIX_NAMESPACE": f"test-{os.getpid()}"} | dict.fromkeys(sizes, "2")
    flags = words(tmp_path / "shared", rounds=3)
    processes = [
        subprocess.Popen(
            flags, env=os.environ | call | dict.fromkeys(names, str(rank)), stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert told[0]
    assert not told[1]
    whole = experiment.run(make({**FLAGS, "rounds": 3, "eval_every": 10, "out_dir": tmp_path / "whole"}))
    assert results.differences(whole, next((tmp_path / "shared").glob("[!.]*.h5"))) == []


def test_nobody_is_started_for_what_is_done(tmp_path: Path, small: Small):
    config = small(out_dir=tmp_path, shards=2)
    experiment.run(config)

    def never(missing: bool) -> None:
        assert not missing
        raise StopIteration

    with pytest.raises(StopIteration):
        experiment.run(config, join=never)
