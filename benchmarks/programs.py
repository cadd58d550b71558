"""The programs as a user starts them: each in a process of its own, from start to exit."""

import json
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import h5py
import imports
import numpy as np
from timing import ROOT, Row, interleaved, median, ratio, run

from dml import config, experiment
from dml.results import sealed
from dml.results.reader import attributes
from dml.results.root_attributes import read_attributes
from dml.results.runs import result_files

SCRIPTS = ROOT / "src" / "experiments"
FILES = 4000


def rows(quick: bool, folder: Path) -> Iterator[Row]:
    """All programs, which write into ``folder``."""
    yield from wrong_arguments(3 if quick else 7, folder)
    yield start(2 if quick else 5, folder)
    yield imports.row(2 if quick else 5, folder)
    yield table(40 if quick else FILES, folder)
    yield from sweep(quick, folder)


def wrong_arguments(repeats: int, folder: Path) -> list[Row]:
    """The time until a user is told of a mistake."""
    calls = (
        ("decentralized_main.py", "--lr", "-1"),
        ("decentralized_main.py", "--topology_file", "nofile.txt"),
        ("bd_scheduler.py", "--seeds", "x"),
    )
    cases = {" ".join(call): partial(_refused, *call, "--out_dir", str(folder / "none")) for call in calls}
    seconds = interleaved(cases, repeats)
    return [Row(what, median(times), "s", 0.5, "") for what, times in seconds.items()]


def _refused(script: str, *words: str) -> None:
    run(str(SCRIPTS / script), *words, expect=2)


def start(repeats: int, folder: Path) -> Row:
    """The default experiment over the import of torch, each time in a folder of its own."""
    fresh = iter(range(1000))

    def ours() -> None:
        run(str(SCRIPTS / "decentralized_main.py"), "--out_dir", str(folder / f"single-{next(fresh)}"))

    seconds = interleaved({"ours": ours, "torch": lambda: run("-c", "import torch")}, repeats)
    note = f"{median(seconds['ours']):.2f} s; import torch alone {median(seconds['torch']):.2f} s"
    return Row(
        "decentralized_main.py over import torch", ratio(seconds["ours"], seconds["torch"]), "x", 5, note
    )


def table(count: int, folder: Path) -> Row:
    """compile_results.py on many files, which are copies of one result with other root attributes."""
    many = folder / "many"
    _make_results(many, count, folder)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        run(str(SCRIPTS / "compile_results.py"), str(many))
        seconds.append(time.perf_counter() - started)
    size = sum(p.stat().st_size for p in result_files(many)) / count
    note = f"median of 3; {size / 1e3:.0f} kB per file, written just before"
    shutil.rmtree(many)
    return Row(f"compile_results.py on {count:,} files", median(seconds), "s", 5, note)


def _make_results(many: Path, count: int, folder: Path) -> None:
    flags = {
        "topology_file": "barabasi_albert:n=33,m=2,seed=0",
        "backdoor": True,
        "rounds": 10,
        "out_dir": folder,
        "keep_checkpoint": False,
    }
    one = experiment.run(config.make(flags))
    found = attributes(one)
    many.mkdir()
    strategies = ("unweighted", "weighted", "random", "degCent", "betCent")
    for number in range(count):
        strategy, rest = strategies[number % 5], number // 5
        seed, graph = rest % 50, f"barabasi_albert:n=33,m={rest // 50 + 1}"
        settings = found["config"] | {"seed": seed, "aggregation_strategy": strategy}
        path = many / f"{strategy}-{number}.h5"
        shutil.copyfile(one, path)
        with h5py.File(path, "r+", locking=False) as file:
            file.attrs["experiment_id"] = f"{number:012x}"
            file.attrs["config"] = json.dumps(settings)
            file.attrs["topology_family"], file.attrs["topology_source"] = graph, f"{graph},seed={seed}"
            file.attrs["auc_ood"] = found["auc_ood"] + number / count
            digest = sealed.digest_of(read_attributes(file), sealed.text(found["digest"]).partition(" ")[0])
            file.attrs["digest"] = np.bytes_(digest)


def sweep(quick: bool, folder: Path) -> list[Row]:
    """The quickstart sweep on 2 workers and on 1: the whole command, and its experiments."""
    words = ["--rounds", "4", "--limit", "4"] if quick else []
    wall, own = _sweep(folder / "quickstart", "2", *words)
    wall_of_one, own_of_one = _sweep(folder / "quickstart-1", "1", *words)
    what = "quickstart sweep, 4 x 4 rounds" if quick else "quickstart sweep, 18 x 40 rounds"
    between = "its first experiment's start to its last one's end"
    return [
        Row(what, wall, "s", 90, "bd_scheduler.py on 2 workers, from start to exit"),
        Row(
            "  its start-up",
            wall - own,
            "s",
            4,
            f"all but {between}; on 1 worker {wall_of_one - own_of_one:.2f} s",
        ),
        Row(
            "  2 workers against 1",
            own_of_one / own,
            "x",
            1.8,
            f"{between}: {own_of_one:.2f} s on 1 worker, {own:.2f} s on 2",
            at_least=True,
        ),
    ]


def _sweep(out: Path, workers: str, *words: str) -> tuple[float, float]:
    """The seconds of the whole command, and those from its first experiment's start to its last one's end."""
    started = time.perf_counter()
    run(
        str(SCRIPTS / "bd_scheduler.py"),
        "--preset",
        "quickstart",
        "--out_dir",
        str(out),
        "--workers",
        workers,
        *words,
    )
    wall = time.perf_counter() - started
    segments = [s for path in result_files(out) for s in json.loads(attributes(path)["segments"])]
    first = min(datetime.fromisoformat(s["started"]) for s in segments)
    last = max(datetime.fromisoformat(s["finished"]) for s in segments)
    return wall, (last - first).total_seconds()
