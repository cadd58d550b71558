"""Every end of a script has its exit code and one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import ROOT, SCRIPTS

from dml.errors import (
    ArgumentError,
    DamagedFileError,
    FailingWorkersError,
    InputError,
    LostInterchangeError,
    LostWorkersError,
    OutOfTimeError,
    UnwritableFileError,
)
from dml.guard import guard


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (InputError("lr", "-1", "must be above 0"), 2, "error: --lr -1: must be above 0\n"),
        (ArgumentError("FILE", "x", "no such file"), 2, "error: FILE x: no such file\n"),
        (DamagedFileError("a.h5 cannot be read"), 1, "error: a.h5 cannot be read\n"),
        (UnwritableFileError("a.h5 cannot be written"), 1, "error: a.h5 cannot be written\n"),
        (DamagedFileError("a\nb.h5 cannot be read"), 1, "error: a\\nb.h5 cannot be read\n"),
        (PermissionError(13, "Permission denied", "a.h5"), 1, "error: a.h5: Permission denied\n"),
        (
            MemoryError("48 GiB for an array\n"),
            1,
            r"error: the memory is full (48 GiB for an array\n)" + "\n",
        ),
        (SystemExit(0), 0, ""),
        (LostWorkersError("the workers were lost"), 75, "error: the workers were lost\ntry again\n"),
        (FailingWorkersError("workers fail at their start"), 1, "error: workers fail at their start\n"),
        (
            OutOfTimeError("the time is over: run the same command"),
            75,
            "the time is over: run the same command\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted: try again\n"),
    ],
)
def test_every_end_has_its_exit_code_and_one_message(
    capsys: pytest.CaptureFixture[str], end: int | BaseException, code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        guard(_ending(end), go_on="try again")
    assert (ended.value.code, capsys.readouterr().err) == (code, message)


def _ending(end: int | BaseException) -> Callable[[], int]:
    def main() -> int:
        if isinstance(end, BaseException):
            raise end
        return end

    return main


def test_the_name_of_a_file_that_is_no_text_is_printed_as_it_is(tmp_path: Path) -> None:
    name = "caf\udce9"
    command = [sys.executable, str(ROOT / "src" / "create_topo" / "create_topologies.py"), "--out_dir", name]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.endswith(b"\ncaf\xe9\n")


@pytest.mark.parametrize("script", ["decentralized_main.py", "bd_scheduler.py --dry_run"])
def test_a_working_directory_that_was_removed_is_named(script: str, tmp_path: Path) -> None:
    name, *words = script.split()
    command = f"cd {tmp_path} && rmdir {tmp_path} && exec {sys.executable} {SCRIPTS / name} {' '.join(words)}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == "error: the working directory no longer exists; change to another one\n"
    assert ended.returncode == 1


def test_a_closed_output_is_no_error() -> None:
    command = f"exec {sys.executable} {SCRIPTS / 'describe_topology.py'} cycle:n=4 >&-"
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_under_the_output_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(SCRIPTS / "describe_topology.py"), "cycle:n=4", "--json"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.stderr == "error: the output cannot be written (No space left on device)\n"
    assert ended.returncode == 1


def test_a_lost_interchange_ends_the_process_without_closing_parsl(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndedError(BaseException):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr("os._exit", end)
    with pytest.raises(EndedError, match="75"):
        guard(_ending(LostInterchangeError("it was killed")))


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_the_exit_code_tells_also_if_nobody_can_read_the_message(stderr: str) -> None:
    command = f"exec {sys.executable} {SCRIPTS / 'describe_topology.py'} cycle:n=-4 {stderr}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 2


def test_a_run_needs_no_stderr(tmp_path: Path) -> None:
    words = "--topology_file cycle:n=4 --rounds 1 --epochs 1"
    command = f"exec {sys.executable} {SCRIPTS / 'decentralized_main.py'} {words} 2>&-"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "experiment" not in ended.stdout.splitlines()[0]
    assert ended.stdout.endswith(".h5\n")


def test_a_signal_while_python_ends_does_not_change_the_exit_code() -> None:
    program = """
import atexit, os, signal
from dml.guard import guard
atexit.register(lambda: [os.kill(os.getpid(), n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)])
guard(lambda: 0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_run_that_is_told_to_end_before_its_first_round_ends_with_75(tmp_path: Path) -> None:
    words = ["--topology_file", "cycle:n=4", "--rounds", "100000"]
    run = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "decentralized_main.py"), *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    assert "cycle" in run.stderr.readline()
    run.terminate()
    _, told = run.communicate(timeout=60)
    assert run.returncode == 75, told
    assert "run the same command to continue" in told
