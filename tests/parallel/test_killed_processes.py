"""Each process of a sweep is killed hard once: the sweep goes on or says how to, and leaves nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from scripts import SCRIPTS

COMMAND = ("--preset", "quickstart", "--limit", "4", "--rounds", "40", "--workers", "2", "--out_dir", "out")
MARK = "SWEEP_OF_THIS_TEST"
LIMIT = 60.0
"""Seconds in which a sweep goes on (within 30) and does the rest, which takes 5 on a quiet machine."""


def _start(folder: Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A sweep in its first experiments, and its processes in the order of their start, itself first."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *COMMAND],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, MARK: str(folder)},
    )
    until = time.monotonic() + 60
    while len(list((folder / "out").glob("*.ckpt"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    # By a variable that all inherit, as some are no descendants of the scheduler. The interchange writes its
    # new name over the variable, but is the child of its wrapper.
    marked = [
        p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get(MARK) == str(folder)
    ]
    family = {*marked, *(child for p in marked for child in p.children())}
    return process, sorted(family, key=lambda p: (p.create_time(), p.pid))


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return f"{process.name()}: {words[:40]} ... {words[-80:]}"


@pytest.mark.slow
def test_whichever_process_is_killed_the_sweep_goes_on_or_ends_with_75(tmp_path: Path):
    number, count = 1, 2
    while number < count:
        folder = tmp_path / str(number)
        folder.mkdir()
        process, family = _start(folder)
        count = len(family)
        assert family[0].pid == process.pid
        name = _name(family[number])
        family[number].kill()
        killed = time.monotonic()
        try:
            _, err = process.communicate(timeout=2 * LIMIT)
        finally:
            process.kill()
        took = time.monotonic() - killed
        assert process.returncode in (0, 75), (name, err)
        assert took < LIMIT, (name, err)
        assert process.returncode == 0 or "run the same command to continue" in err, (name, err)
        assert "Traceback" not in err, (name, err)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == [], (name, alive)
        results = [path for path in (folder / "out").glob("*.h5") if path.name != "summary.h5"]
        assert process.returncode == 75 or len(results) == 4, (name, err)
        print(f"{name}: exit code {process.returncode} after {took:.1f} s")
        number += 1
    # The interchange, the pool, the server of its shared objects, their wrappers, and the workers.
    assert number > 8
