"""A sweep with all processes that it starts, so that tests can send signals to each of them."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from scripts import SCRIPTS

MARK = "FOLDER_OF_THIS_TEST"


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Starts a sweep in a folder, in a session of its own; its messages go to ``err`` there."""
    with (folder / "err").open("a") as err:
        return subprocess.Popen(
            [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *words],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=err,
            text=True,
            start_new_session=True,
            env={**os.environ, MARK: str(folder)},
        )


def family(folder: Path) -> list[psutil.Process]:
    """The processes of the sweeps in a folder, in the order of their start.

    They are found by a variable that all inherit, as some are no descendants of the scheduler. The
    interchange writes its new name over the variable, but is the child of its wrapper.
    """
    found = set()
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get(MARK) == str(folder):
            found.add(process)
            try:
                found.update(process.children())
            except psutil.NoSuchProcess:
                continue
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def sigterm_to_all(folder: Path, words: tuple[str, ...], draw: random.Random) -> str:
    """Starts a sweep, sends SIGTERM to all its processes at a random moment, and checks how it ends.

    Returns:
        A line on what was seen.
    """
    process = start(folder, *words)
    wait = draw.uniform(2.0, 16.0)
    try:
        time.sleep(wait)
        told, begun = family(folder), time.monotonic()
        for one in told:
            try:
                one.send_signal(signal.SIGTERM)
            except psutil.NoSuchProcess:
                continue
        code = process.wait(timeout=60)
    finally:
        process.kill()
    took, err = time.monotonic() - begun, (folder / "err").read_text()
    assert code == 75, err
    assert took < 15, f"{took:.1f} s: it takes 5 on a machine that is not busy"
    assert err.splitlines()[-1].startswith("interrupted"), err
    assert "run the same command" in err
    assert "Traceback" not in err, err
    _, alive = psutil.wait_procs(told, timeout=40)
    assert alive == []
    assert not [*folder.rglob("heartbeat"), *folder.rglob("*.key_secret"), *folder.rglob(".*.tmp*")]
    return f"SIGTERM to {len(told)} processes after {wait:.1f} s: ended after {took:.1f} s"
