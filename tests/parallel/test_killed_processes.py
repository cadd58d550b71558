"""Each process of a sweep is killed hard once: the sweep goes on or says how to, and leaves nothing."""

import time
from pathlib import Path

import psutil
import pytest
from whole_sweep import family, start

WORDS = ("--preset", "quickstart", "--limit", "4", "--rounds", "40", "--workers", "2", "--out_dir", "out")
LIMIT = 60.0
"""Seconds in which a sweep goes on (within 30) and does the rest, which takes 5 on a quiet machine."""


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return f"{process.name()}: {words[:40]} ... {words[-80:]}"


@pytest.mark.slow
def test_whichever_process_is_killed_the_sweep_goes_on_or_ends_with_75(tmp_path: Path) -> None:
    number, count = 1, 2
    while number < count:
        folder = tmp_path / str(number)
        folder.mkdir()
        process = start(folder, *WORDS)
        until = time.monotonic() + 60
        while len(list((folder / "out").glob("*.ckpt"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        all_of_it = family(folder)
        count = len(all_of_it)
        assert all_of_it[0].pid == process.pid
        name = _name(all_of_it[number])
        all_of_it[number].kill()
        killed = time.monotonic()
        try:
            code = process.wait(timeout=2 * LIMIT)
        finally:
            process.kill()
        took, err = time.monotonic() - killed, (folder / "err").read_text()
        assert code in (0, 75), (name, err)
        assert took < LIMIT, (name, err)
        assert code == 0 or "run the same command to continue" in err, (name, err)
        assert "Traceback" not in err, (name, err)
        _, alive = psutil.wait_procs(all_of_it, timeout=30)
        assert alive == [], (name, alive)
        results = [path for path in (folder / "out").glob("*.h5") if path.name != "summary.h5"]
        assert code == 75 or len(results) == 4, (name, err)
        print(f"{name}: exit code {code} after {took:.1f} s")
        number += 1
    # The interchange, the pool, the server of its shared objects, their wrappers, and the workers.
    assert number > 8
