"""SIGTERM to all processes of a sweep at once, as batch systems send it, at random moments."""

import random
import time
from pathlib import Path

import pytest
from sweeps import run_sweep_here
from whole_sweep import sigterm_to_all, start

from dml import results

WORDS = ("--preset", "quickstart", "--limit", "6", "--epochs", "1", "--rounds", "400", "--workers", "2")


@pytest.mark.slow
def test_it_ends_within_seconds_leaves_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(4):
        print(sigterm_to_all(tmp_path, (*WORDS, "--out_dir", "out"), draw))
    process = start(tmp_path, *WORDS, "--out_dir", "out")
    assert process.wait(timeout=400) == 0, (tmp_path / "err").read_text()
    for name, calm in run_sweep_here(tmp_path / "calm", *WORDS[:-2]).items():
        assert results.differences(calm, tmp_path / "out" / name) == [], (name, seed)
