"""What a default run imports besides torch, in seconds of importing torch.

A program of its own, as a process imports once: ``list FOLDER`` runs the default experiment there and prints
the modules that it has imported, ``time FILE`` imports those that the file lists, torch first.
"""

import contextlib
import importlib
import io
import json
import runpy
import sys
import time
from pathlib import Path

from timing import ROOT, Row, median, run


def row(repeats: int, folder: Path) -> Row:
    """Each time in a fresh process, torch and the rest in turn, after one turn that is not counted."""
    names = folder / "modules.json"
    names.write_text(run(str(Path(__file__)), "list", str(folder / "imports")))
    found = [json.loads(run(str(Path(__file__)), "time", str(names))) for _ in range(repeats + 1)][1:]
    rest, torch = median([f["rest"] for f in found]), median([f["torch"] for f in found])
    note = f"{1000 * rest:.0f} ms, {found[0]['modules']} modules; import torch {1000 * torch:.0f} ms"
    share = median([f["rest"] / f["torch"] for f in found])
    return Row("imports of a default run besides torch", share, "x", 0.7, note)


def _list(folder: str) -> None:
    script = ROOT / "src" / "experiments" / "decentralized_main.py"
    sys.argv = [str(script), "--out_dir", folder]
    quiet = io.StringIO()
    with (
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        contextlib.suppress(SystemExit),
    ):
        runpy.run_path(str(script), run_name="__main__")
    print(json.dumps([name for name in sys.modules if not name.startswith("__")]))


def _time(names: Path) -> None:
    wanted = json.loads(names.read_text())
    before = set(sys.modules)
    started = time.perf_counter()
    importlib.import_module("torch")
    with_torch, there = time.perf_counter(), set(sys.modules)
    for name in wanted:
        if name not in sys.modules:
            # A module that another makes as it is imported is there afterwards, or cannot be imported.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    rest = time.perf_counter() - with_torch
    # What this program itself has imported would not be counted.
    assert not [name for name in before if name.partition(".")[0] in ("dml", "h5py", "networkx", "numpy")]
    modules = len(sys.modules.keys() - there)
    print(json.dumps({"torch": with_torch - started, "rest": rest, "modules": modules}))


if __name__ == "__main__":
    if sys.argv[1] == "list":
        _list(sys.argv[2])
    else:
        _time(Path(sys.argv[2]))
