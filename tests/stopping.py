"""Stopping a run between two rounds, and killing it within one."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts import SCRIPTS

from dml import results


class StopAfter:
    """Asks a run to stop once it has been asked so often."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def __call__(self) -> str | None:
        self.left -= 1
        return "enough" if self.left <= 0 else None


def start_experiment(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Starts one experiment in a folder, in a process of its own."""
    command = [sys.executable, str(SCRIPTS / "decentralized_main.py"), *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def has_done(path: Path, rounds: int) -> bool:
    """Whether a result file holds so many rounds."""
    return path.exists() and results.load(path).attributes["rounds_done"] >= rounds


def wait_until(fact: Callable[[], bool]) -> bool:
    """Waits for a fact, but not for longer than a minute; whether it has come true."""
    until = time.monotonic() + 60
    while not fact() and time.monotonic() < until:
        time.sleep(0.02)
    return fact()
