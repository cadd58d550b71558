"""Jobs of a login node that are cancelled, and a job whose end is known: the sweep goes on or says how."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import ROOT, SCRIPTS
from slurm_cluster import Cluster
from sweeps import run_sweep_here

from dml import results

pytestmark = pytest.mark.slow

LONG = ("--preset", "quickstart", "--limit", "2", "--rounds", "100", "--checkpoint_every", "1")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The results of LONG, which nobody disturbed."""
    return run_sweep_here(tmp_path_factory.mktemp("calm"), *LONG)


@pytest.fixture
def sweep(slurm: Cluster, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts LONG on the login node, with one worker in one job."""

    def call(*words: str) -> "subprocess.Popen[str]":
        options = ["address=127.0.0.1", "jobs=1", "workers=1", "walltime=00:20:00"]
        command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *LONG, *words, "--parsl_config", "slurm"]
        command += ["--out_dir", "out", "--site_options", *options]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=slurm.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    return call


def cancel_once_it_has_worked(slurm: Cluster, out: Path) -> None:
    end = time.monotonic() + 120
    while not list(out.glob("*.ckpt")):
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.1)
    slurm.call("scancel", *slurm.jobs())


def test_a_job_that_is_cancelled_is_replaced(
    slurm: Cluster, sweep: Callable[..., "subprocess.Popen[str]"], calm: dict[str, Path], tmp_path: Path
):
    process = sweep()
    cancel_once_it_has_worked(slurm, tmp_path / "out")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "cancelled" in told or "has ended" in told
    for name, path in calm.items():
        assert results.differences(path, tmp_path / "out" / name) == [], name


def test_without_another_job_the_sweep_ends_and_goes_on_when_called_again(
    slurm: Cluster, sweep: Callable[..., "subprocess.Popen[str]"], calm: dict[str, Path], tmp_path: Path
):
    process = sweep("--max_jobs", "1")
    cancel_once_it_has_worked(slurm, tmp_path / "out")
    _, told = process.communicate(timeout=150)
    assert process.returncode == 75, told
    assert "--max_jobs 1 allows no other job" in told
    assert "run the same command to continue" in told
    assert slurm.jobs() == []
    again = sweep("--max_jobs", "1")
    _, told = again.communicate(timeout=300)
    assert again.returncode == 0, told
    for name, path in calm.items():
        assert results.differences(path, tmp_path / "out" / name) == [], name


def test_a_job_whose_end_is_known_ends_before_it(slurm: Cluster, tmp_path: Path):
    """A job of two minutes, the last of which is the margin."""
    job = ROOT / "scripts" / "slurm" / "bd_scheduler.sbatch"
    words = [
        "--preset",
        "quickstart",
        "--rounds",
        "400",
        "--checkpoint_every",
        "1",
        "--out_dir",
        str(tmp_path / "out"),
    ]
    options = ["--site_options", "address=127.0.0.1", "accelerators=0", "workers=1"]
    number = slurm.sbatch("--time=2", f"--output={tmp_path / 'log'}", job, *words, *options, cwd=ROOT)
    found = slurm.wait(number)
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "75:0"), (tmp_path / "log").read_text()
    assert "run the same command to continue" in (tmp_path / "log").read_text()
    assert list((tmp_path / "out").glob("*.ckpt"))
