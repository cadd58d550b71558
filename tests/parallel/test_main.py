"""Sweeps as a user calls them: workers, kills and second calls change no number, and leave nothing behind."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from scripts import SCRIPTS, Script
from sweeps import run_sweep_here

from dml import results

QUICK = ("--preset", "quickstart", "--rounds", "6", "--epochs", "1", "--checkpoint_every", "2")


def test_a_dry_run_says_what_would_be_and_writes_nothing(script: Script, tmp_path: Path):
    called = script("bd_scheduler.py", "--dry_run")
    assert called.returncode == 0
    assert "756 experiments" in called.stdout
    assert all(word in called.stdout for word in ("time:", "disk:", "memory:", "nothing was run"))
    assert list(tmp_path.iterdir()) == []


def _files(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in folder.glob("*.h5") if not p.name.startswith(".") and p.name != "summary.h5"}


def _survivors(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names the folder: all of Parsl's, as their files are in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) or str(folder) in process.cwd():
                found.append(process)
        except psutil.Error:
            continue
    return found


def _alive(processes: list[psutil.Process]) -> bool:
    return any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.mark.slow
def test_in_one_process_in_four_workers_or_killed_and_called_again_the_numbers_are_the_same(
    script: Script, tmp_path: Path
):
    """kill -9 of the scheduler in the middle of a sweep loses nothing, and leaves no process behind."""
    first = run_sweep_here(tmp_path / "one", *QUICK)
    assert len(first) == 18

    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *QUICK, "--out_dir", "four"]
    command += ["--workers", "4"]
    killed = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 120
    while len(_files(tmp_path / "four")) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    family = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    died = time.monotonic()
    left = len(_files(tmp_path / "four"))
    assert 5 <= left < 18

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert again.returncode == 0, again.stderr
    # By family and by folder: Parsl's block is no child of the scheduler's.
    while _alive(family) or _survivors(tmp_path / "four" / ".parsl"):
        assert time.monotonic() - died < 30, "processes of the killed scheduler are still there"
        time.sleep(0.2)

    second = _files(tmp_path / "four")
    assert first.keys() == second.keys()
    for name, path in first.items():
        assert results.differences(path, second[name]) == [], name
        # None was written by two at once: each start went on from where an earlier one had ended.
        rounds = [segment["from_round"] for segment in results.load(second[name]).segments]
        assert rounds == sorted(rounds)
    assert not list((tmp_path / "four").glob(".*.lock")) + list((tmp_path / "four").glob(".*.tmp*"))

    third = script("bd_scheduler.py", *QUICK, "--out_dir", "four")
    assert third.returncode == 0
    assert "18 of 18 experiments done already" in third.stderr
    assert third.stdout == again.stdout


@pytest.mark.slow
def test_a_damaged_file_fails_one_experiment_and_the_others_go_on(process: Script, tmp_path: Path):
    words = (*QUICK, "--strategies", "unweighted")
    broken, gone, whole = sorted(run_sweep_here(tmp_path / "out", *words).values())
    sweep = (*words, "--workers", "1", "--out_dir", "out")
    broken.write_bytes(b"damaged")
    gone.unlink()
    called = process("bd_scheduler.py", *sweep)
    assert called.returncode == 1
    assert broken.name in called.stderr
    assert "Traceback" not in called.stderr
    assert broken.read_bytes() == b"damaged"
    assert results.load(gone).attributes["status"] == "complete"
    (failed,) = json.loads((tmp_path / "out" / "sweep.json").read_text())["failed"].values()
    assert failed["tries"] == 1
    assert "cannot be read" in failed["why"]
    broken.unlink()
    assert process("bd_scheduler.py", *sweep).returncode == 0
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["failed"] == {}
    assert whole.exists()


@pytest.mark.slow
def test_one_of_eight_experiments_fails_and_the_next_call_runs_it_alone(process: Script, tmp_path: Path):
    """Of a strategy and the references, in two workers; the seven others are not touched again."""
    words = (*QUICK, "--ceiling", "--topologies", "cycle:n=5", "--seeds", "0", "1")
    words += ("--strategies", "unweighted")
    sweep = (*words, "--workers", "2", "--out_dir", "out")
    calm = run_sweep_here(tmp_path / "calm", *words)
    assert len(calm) == 8
    (name,) = [name for name in calm if "traversal" in name and "-s1-" in name]
    broken = tmp_path / "out" / name
    broken.parent.mkdir()
    broken.write_bytes(b"damaged")
    first = process("bd_scheduler.py", *sweep)
    assert first.returncode == 1
    assert "7 of 8 experiments done" in first.stderr
    assert "1 of 8 experiments failed" in first.stderr
    assert _runs(first.stdout) == {"unweighted": 2, "centralized": 2, "traversal": 1, "fedavg": 2}
    (failed,) = json.loads((tmp_path / "out" / "sweep.json").read_text())["failed"].values()
    assert broken.stem.startswith(failed["name"])
    broken.unlink()
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _files(tmp_path / "out").values()
    }
    assert len(before) == 7
    again = process("bd_scheduler.py", *sweep)
    assert again.returncode == 0, again.stderr
    assert "retrying 1 experiment that failed in an earlier call" in again.stderr
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert _runs(again.stdout) == dict.fromkeys(("unweighted", "centralized", "traversal", "fedavg"), 2)
    for name, path in _files(tmp_path / "out").items():
        assert results.differences(calm[name], path) == [], name


def _runs(table: str) -> dict[str, int]:
    """The number of runs of each row of a table."""
    _, *rows = table.partition("\nstrategy")[2].partition("\n\n")[0].splitlines()
    return {name: int(runs) for name, runs, *_ in map(str.split, rows)}


@pytest.mark.slow
def test_ctrl_c_ends_the_sweep_and_all_that_it_started(tmp_path: Path):
    command = [
        sys.executable,
        str(SCRIPTS / "bd_scheduler.py"),
        "--preset",
        "quickstart",
        "--rounds",
        "100000",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = tmp_path / "results" / "quickstart"
    until = time.monotonic() + 60
    while not list(folder.glob("*.ckpt")) and time.monotonic() < until:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run the same command to continue" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_two_schedulers_at_once_share_the_work(tmp_path: Path):
    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *QUICK, "--limit", "6", "--out_dir", "out"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    files = _files(tmp_path / "out")
    assert len(files) == 6
    assert all(len(results.load(path).segments) == 1 for path in files.values())


def _start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _kill_one(folder: Path, scheduler: int, name: str) -> None:
    """Kills the first of Parsl's processes of that name hard, as the system's memory killer does."""
    for process in _survivors(folder) + psutil.Process(scheduler).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = " ".join([process.name(), *process.cmdline()])
            if name in words and "dml.parallel.watch" not in words and process.pid != scheduler:
                process.kill()
                return
    pytest.fail(f"no {name} found")


def _start_and_wait_for_a_result(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *QUICK, "--limit", "8", "--out_dir", "out"]
    process = _start(command, folder)
    until = time.monotonic() + 60
    while not _files(folder / "out") and time.monotonic() < until:
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_lost_manager_is_started_again(tmp_path: Path):
    process = _start_and_wait_for_a_result(tmp_path)
    _kill_one(tmp_path / "out", process.pid, "process_worker_pool")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "starting workers again" in err
    assert len(_files(tmp_path / "out")) == 8


@pytest.mark.slow
def test_a_lost_interchange_ends_the_sweep_and_the_next_call_goes_on(process: Script, tmp_path: Path):
    first = _start_and_wait_for_a_result(tmp_path)
    _kill_one(tmp_path / "out", first.pid, "HTEX interchange")
    _, err = first.communicate(timeout=60)
    assert first.returncode == 75
    assert "run the same command to continue" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "sweep.json").exists()
    again = process("bd_scheduler.py", *QUICK, "--limit", 8, "--out_dir", "out")
    assert again.returncode == 0, again.stderr
    assert len(_files(tmp_path / "out")) == 8


@pytest.mark.slow
def test_sigterm_as_at_the_end_of_a_job_ends_the_sweep_cleanly(tmp_path: Path):
    command = [
        sys.executable,
        str(SCRIPTS / "bd_scheduler.py"),
        "--preset",
        "quickstart",
        "--rounds",
        "100000",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob("results/quickstart/*.ckpt")) and time.monotonic() < until:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run the same command to continue" in err
    assert not list(tmp_path.rglob("heartbeat"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--seeds", "x"), "--seeds x"),
        (("--strategies", "best"), "--strategies best"),
        (("--strategies", "eigenvector", "--topologies", "erdos_renyi:n=9,p=0"), "--strategies eigenvector"),
        (("--datasets", "imagenet"), "--datasets imagenet"),
        (("--topologies", "missing.txt"), "--topologies missing.txt"),
        (("--preset", "all"), "--preset all"),
        (("--limit", "0"), "--limit 0"),
        (("--workers", "0"), "--workers 0"),
        (("--parsl_config", "moon"), "--parsl_config moon"),
        (("--site_options", "a=b"), "--site_options a=b"),
        (("--site_options", "a"), "--site_options a"),
        (("--momentum", "2"), "--momentum 2"),
        (("--beta_1", "0.5"), "--beta_1 0.5"),
        (("--dataset", "digits"), "--datasets"),
        (("--backdoor",), "--backdoor"),
        (("--seeds",), "--seeds: name at least one"),
        (("--workers", "100000"), "workers=100000"),
        (("--dry_run", "--site_options", "workers=two"), "workers=two"),
        (("--rounds", "0"), "--rounds 0"),
        (("--out_dir", "/dev/null/x"), "--out_dir /dev/null/x"),
    ],
)
def test_a_wrong_argument_of_the_scheduler_is_named(
    script: Script, tmp_path: Path, arguments: tuple[str, ...], named: str
):
    called = script("bd_scheduler.py", *arguments)
    assert called.returncode == 2, called.stderr
    assert named in called.stderr
    assert "Traceback" not in called.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_site_file_without_make_config_is_refused(script: Script, tmp_path: Path):
    (tmp_path / "site.py").write_text("x = 1\n")
    called = script("bd_scheduler.py", "--parsl_config", tmp_path / "site.py")
    assert called.returncode == 2
    assert "make_config" in called.stderr
