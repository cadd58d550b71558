"""The ends of a sweep that nobody asked for: no working workers, no time, no folder. None is waited for."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from scripts import SCRIPTS, Script

from dml import results

SITE = """
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

def make_config(options):
    executor = HighThroughputExecutor(
        label="here", address="127.0.0.1", loopback_address="127.0.0.1", encrypted=True,
        max_workers_per_node=2, cores_per_worker=1e-3, prefetch_capacity=0, heartbeat_period=3,
        heartbeat_threshold=30, cpu_affinity="{affinity}",
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init="{worker_init}"),
    )
    return Config(executors=[executor], strategy="none", strategy_period=0.2, initialize_logging=False)
"""
LONG = ("--preset", "quickstart", "--limit", "3", "--rounds", "100000")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("affinity", "worker_init", "words"),
    [
        ("list:0:99999", "", "OSError: [Errno 22] Invalid argument (in "),
        ("list:0", "", "Affinity list list:0 has wrong number of thread ranks (in "),
        (
            "none",
            "module() { echo no module frameworks >&2; exit 1; }; module load x",
            "no module frameworks",
        ),
    ],
)
def test_workers_that_cannot_start_end_the_sweep_with_the_last_line_of_their_log(
    process: Script, tmp_path: Path, affinity: str, worker_init: str, words: str
) -> None:
    (tmp_path / "site.py").write_text(SITE.format(affinity=affinity, worker_init=worker_init))
    started = time.monotonic()
    called = process("bd_scheduler.py", *LONG, "--parsl_config", "site.py", "--out_dir", "out", timeout=200)
    assert time.monotonic() - started < 60
    assert called.returncode == 1, called.stderr
    (line,) = [line for line in called.stderr.splitlines() if line.startswith("error: ")]
    assert words in line
    # The file that it names is there, and the keys are gone.
    log = Path(line.rpartition("in /")[2].join(["/", ""]).rstrip(")"))
    assert log.is_file(), line
    assert not list(tmp_path.rglob("*.key_secret"))


@pytest.mark.slow
def test_before_the_walltime_everything_is_saved_and_the_next_call_goes_on(
    process: Script, tmp_path: Path
) -> None:
    words = ("bd_scheduler.py", *LONG[:4], "--workers", "2", "--out_dir", "out", "--rounds")
    started = time.monotonic()
    called = process(*words, "100000", "--walltime", "0:45", "--margin", "20", timeout=200)
    took = time.monotonic() - started
    assert called.returncode == 75, called.stderr
    assert called.stderr.splitlines()[-1] == (
        "the time of this call is over: 0 of 3 experiments are done, 2 have a checkpoint: "
        "run the same command to continue"
    )
    assert 24 < took < 45, called.stderr
    reached = {path.name: results.load(path).attributes["rounds_done"] for path in tmp_path.glob("out/*.h5")}
    assert len(reached) == 2
    kinds = sorted(p.suffix for p in (tmp_path / "out").iterdir())
    assert kinds == [".ckpt", ".ckpt", ".h5", ".h5", ".json", ".log"], "Parsl's files are gone"
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "ended"
    # With more rounds than there are, they continue where they had stopped.
    again = process(*words, str(max(reached.values()) + 5), timeout=400)
    assert again.returncode == 0, again.stderr
    for name, rounds in reached.items():
        assert [s["from_round"] for s in results.load(tmp_path / "out" / name).segments] == [0, rounds]


@pytest.mark.slow
def test_a_folder_that_is_removed_while_the_sweep_runs_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *LONG, "--out_dir", "out"]
    called = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out/*.ckpt")) and time.monotonic() < until:
        time.sleep(0.05)
    family = psutil.Process(called.pid).children(recursive=True)
    (tmp_path / "out").rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    _, err = called.communicate(timeout=60)
    assert called.returncode == 75, err
    assert "out was removed while its workers ran" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
