"""A thousand tiny experiments under random kills of workers and of the scheduler.

Part of `make soak`; SOAK_TINY is the number of experiments. All must be done, bit for bit, and the memory of
the scheduler must not grow with their number.
"""

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
from sweeps import run_sweep_here
from whole_sweep import family, start

from dml import results

NUMBER = int(os.environ.get("SOAK_TINY", "1000"))
SEED = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 10**6)))

WARM = 15.0, NUMBER // 20
"""Seconds, and experiments of the call, until the scheduler has imported all that it needs, on a busy machine
as well."""

QUIET = 120.0
"""Seconds without one more experiment after which the sweep has stalled; lost workers take up to 30."""

MOST_GROWTH = 16e6
"""Bytes by which the scheduler may grow over the second half; a spec or an answer takes a few hundred."""

TABLE = """
topology_file: "cycle:n=4"
aggregation_strategy: unweighted
rounds: 2
epochs: 1
keep_checkpoint: false
seed: [{seeds}]
"""


def test_tiny_experiments_under_kills_are_all_done_bit_for_bit(tmp_path: Path) -> None:
    print(f"\nsoak: {NUMBER} tiny experiments, SOAK_SEED={SEED}")
    draw, seen = random.Random(SEED), Counter[str]()
    (tmp_path / "tiny.yaml").write_text(TABLE.format(seeds=", ".join(map(str, range(NUMBER)))))
    words, out = ("--sweep", "tiny.yaml", "--workers", "2", "--out_dir"), tmp_path / "out"
    code, growth = None, []
    while code != 0:
        process = start(tmp_path, *words, "out")
        try:
            code, grown = _disturbed(process, tmp_path, out, draw, seen)
        finally:
            process.kill()  # What it has started ends with it.
        growth.append(grown)
        seen[f"end with {code}"] += 1
        assert code in (0, 75, -9), (tmp_path / "err").read_text()
    assert "Traceback" not in (tmp_path / "err").read_text()
    calm = run_sweep_here(tmp_path / "calm", "--sweep", tmp_path / "tiny.yaml")
    assert len(calm) == NUMBER
    for name, path in calm.items():
        assert results.differences(path, out / name) == [], name
    print("soak:", ", ".join(f"{number} {what}" for what, number in sorted(seen.items())))
    print(f"soak: the scheduler grew by {max(growth) / 1e6:.1f} MB over the second half")
    assert max(growth) < MOST_GROWTH


def _disturbed(
    process: "subprocess.Popen[str]", folder: Path, out: Path, draw: random.Random, seen: Counter[str]
) -> tuple[int, float]:
    """Kills processes of a sweep until it ends; the scheduler itself only in the first half.

    Returns:
        The exit code, and by how many bytes the scheduler has grown in the second half.
    """
    scheduler = psutil.Process(process.pid)
    done = at_first = at_last = _done(out)
    first = last = 0.0
    begun = grew = time.monotonic()
    killed: list[str] = []
    while process.poll() is None:
        time.sleep(0.1)
        before, done = done, _done(out)
        if done > before:
            grew = time.monotonic()
        assert time.monotonic() < grew + QUIET, _stall(folder, done, killed)
        try:
            # It imports the report in its first seconds, and makes it at its end.
            warm = time.monotonic() > begun + WARM[0] and done > at_first + WARM[1]
            if NUMBER // 2 < done < NUMBER and warm:
                last = float(scheduler.memory_info().rss)
                first = first or last
            if done - at_last < NUMBER // 50 + draw.randrange(20):
                continue
            at_last = done
            target = _target(scheduler, folder, draw, spare=done > NUMBER // 2)
            seen[f"kill of {'the scheduler' if target == scheduler else 'another process'}"] += 1
            killed.append(f"{time.strftime('%X')} with {done} done: {_words(target)}")
            target.kill()
        except (psutil.NoSuchProcess, IndexError):
            continue
    return process.returncode, last - first


def _stall(folder: Path, done: int, killed: list[str]) -> str:
    """What is known of a sweep that does not go on: its messages, what was killed, and its processes."""
    parts = {
        f"{done} of {NUMBER} experiments are done, and none was added for {QUIET:.0f} s; its messages": (
            (folder / "err").read_text().splitlines()[-20:]
        ),
        "killed in this call, the last one last": killed[-5:],
        "its processes": [_words(one) for one in family(folder)],
    }
    return "\n".join(f"{title}:\n  " + "\n  ".join(lines) for title, lines in parts.items())


def _words(process: psutil.Process) -> str:
    try:
        words = " ".join(process.cmdline())
        return f"{process.pid}, child of {process.ppid()}, {process.status()}: {words[:60]} ... {words[-60:]}"
    except psutil.NoSuchProcess:
        return f"{process.pid}: has ended"


def _target(scheduler: psutil.Process, folder: Path, draw: random.Random, *, spare: bool) -> psutil.Process:
    """A worker in most cases; they were started last."""
    others = [one for one in family(folder) if one != scheduler]
    kind = draw.random()
    if kind < 0.2 and not spare:
        return scheduler
    return draw.choice(others if kind < 0.4 else others[-2:])


def _done(out: Path) -> int:
    return len(list(out.glob("*-s*.h5")))
