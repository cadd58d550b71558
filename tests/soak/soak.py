"""Runs and sweeps are stopped and killed at random moments; their files must be those of calm runs.

`make soak` runs this for SOAK_MINUTES (30), `.ci/run` for one minute; each kind of case runs at least once.
The moments depend on the machine, so a failure cannot be repeated exactly, but SOAK_SEED repeats its case.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
from scripts import SCRIPTS
from sweeps import run_sweep_here
from whole_sweep import sigterm_to_all

from dml import config, experiment, results

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
SEED = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 10**6)))

MOST_STARTS = 6
"""After which a case is left alone, so that it ends."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)

TRIALS = 20 if MINUTES >= 5 else 2
"""How often all processes of a sweep get SIGTERM."""

SMALL = {"topology_file": "barabasi_albert:n=6,m=2", "rounds": 40, "checkpoint_every": 1, "threads": 1}
LOSSY = {"drop_probability": 0.3}
HEAVY = {**LOSSY, "momentum": 0.9}
RUNS: tuple[dict[str, object], ...] = (
    {"aggregation_strategy": "random", "softmax": True, "participation": 0.5, "optimizer": "adam", **LOSSY},
    {"aggregation_strategy": "degCent_sim", "softmax": True, "backdoor": True, "engine": "loop"},
    {"algorithm": "dpsgd", "loss_rule": "hold_last", **HEAVY},
    {"algorithm": "relaysgd", "overlap": True, **HEAVY},
    {"algorithm": "gradient_tracking", "local_steps": 2, **HEAVY},
    {"algorithm": "push_sum", "failing_nodes": ("3@7", "5@21"), **HEAVY},
    {"algorithm": "quasi_global_momentum", "precision": "bf16", **HEAVY},
    {"algorithm": "traversal", "visits": "apart", "mode": "cut=1", "momentum": 0.9},
    {"algorithm": "centralized", "optimizer": "adadelta"},
    {"algorithm": "scaffold", "participation": 0.5},
)
SWEEP = ("--preset", "quickstart", "--rounds", 8, "--epochs", 1, "--checkpoint_every", 1, "--limit", 6)


def test_files_of_disturbed_runs_are_those_of_calm_ones(tmp_path: Path) -> None:
    draw, seen, end = random.Random(SEED), Counter[str](), time.monotonic() + 60 * MINUTES
    print(f"\nsoak: {MINUTES:g} minutes, SOAK_SEED={SEED}")
    case = 0
    while case < 2 or time.monotonic() < end:
        folder = tmp_path / str(case)
        folder.mkdir()
        seen.update((_disturbed_run if case % 2 == 0 else _disturbed_sweep)(folder, draw))
        shutil.rmtree(folder)
        case += 1
    print("soak:", ", ".join(f"{number} {what}" for what, number in sorted(seen.items())))


def test_sigterm_to_all_processes_at_random_moments(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    words = [*map(str, SWEEP), "--rounds", "100000", "--out_dir", "disturbed"]
    for _ in range(TRIALS):
        print(sigterm_to_all(tmp_path, tuple(words), draw))


def _disturbed_run(folder: Path, draw: random.Random) -> Counter[str]:
    flags = SMALL | draw.choice(RUNS) | {"seed": draw.randrange(100)}
    calm = experiment.run(config.make({**flags, "out_dir": folder / "calm"}))
    command = [
        sys.executable,
        str(SCRIPTS / "decentralized_main.py"),
        "--out_dir",
        "disturbed",
        *_words(flags),
    ]
    seen = _disturb(command, folder, draw)
    disturbed = folder / "disturbed" / calm.name
    assert results.differences(calm, disturbed) == [], flags
    _assert_nothing_is_left(folder)
    return seen + Counter({"runs": 1, "segments of runs": len(results.load(disturbed).segments)})


def _disturbed_sweep(folder: Path, draw: random.Random) -> Counter[str]:
    words = [*map(str, SWEEP), "--seeds", str(draw.randrange(100))]
    calm = run_sweep_here(folder / "calm", *words)
    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), *words, "--workers", "2"]
    seen = _disturb([*command, "--out_dir", "disturbed"], folder, draw)
    for name, path in calm.items():
        assert results.differences(path, folder / "disturbed" / name) == [], words
    _assert_nothing_is_left(folder)
    return seen + Counter({"sweeps": 1})


def _words(flags: dict[str, object]) -> Iterator[str]:
    for flag, value in flags.items():
        yield f"--{flag}"
        if value is not True:
            yield from map(str, value if isinstance(value, tuple) else (value,))


def _disturb(command: list[str], folder: Path, draw: random.Random) -> Counter[str]:
    """Starts the command until it has ended well, and sends it or one of its children a signal each time."""
    seen: Counter[str] = Counter()
    for start in range(MOST_STARTS):
        with (folder / "err").open("w") as err:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True
            )
        try:
            if start < MOST_STARTS - 1:
                _wait_for_a_moment(process, folder / "disturbed", draw)
                if process.poll() is None:
                    seen[_hit(process, draw)] += 1
            code = process.wait(timeout=600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        told = (folder / "err").read_text()
        # Before a script's first line, Python itself answers Ctrl-C.
        assert "Traceback" not in told or told.endswith("\nKeyboardInterrupt\n"), told
        if code == 0:
            return seen
    raise AssertionError(f"{command} ended with {code} although nobody disturbed it:\n{told}")


def _wait_for_a_moment(process: "subprocess.Popen[bytes]", out: Path, draw: random.Random) -> None:
    """Until any moment of the start, or shortly after a few more checkpoints."""
    if draw.random() < 0.25:
        time.sleep(draw.uniform(0, 4))
        return
    for _ in range(draw.randrange(1, 12)):
        before = _checkpoints(out)
        while process.poll() is None and _checkpoints(out) == before:
            time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.1))


def _checkpoints(out: Path) -> set[tuple[str, int]]:
    found = set()
    for path in out.glob("*.ckpt"):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def _hit(process: "subprocess.Popen[bytes]", draw: random.Random) -> str:
    """Mostly the program itself; now and then one of its children, as the system's memory killer does."""
    number, target = draw.choice(SIGNALS), psutil.Process(process.pid)
    children = target.children(recursive=True)
    if children and draw.random() < 0.3:
        number, target = signal.SIGKILL, draw.choice(children)
    with contextlib.suppress(psutil.NoSuchProcess):
        target.send_signal(number)
    return f"{number.name} to {'the program' if target.pid == process.pid else 'a child'}"


def _assert_nothing_is_left(folder: Path) -> None:
    """No process with files in the folder, and no temporary file."""
    end = time.monotonic() + 60
    while left := [p for p in psutil.process_iter() if _is_in(p, folder)]:
        assert time.monotonic() < end, left
        time.sleep(0.2)
    assert not [*folder.rglob(".*.tmp")]


def _is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and (
            str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder))
        )
    except psutil.Error:
        return False
