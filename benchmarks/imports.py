"""How long a default run imports modules besides torch, over the time of importing torch.

It is a program, because a process imports a module only once: ``list FOLDER`` runs the default experiment in
that folder and prints the modules that it has imported; ``time FILE`` imports torch, then the modules that
the file lists.
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
    """The median over fresh processes, each of which imports torch, then the rest; the first warms up."""
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
            # Some modules are made by others while these are imported, and cannot be imported by name.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    rest = time.perf_counter() - with_torch
    # Modules that this program itself has imported would not be counted.
    assert not [name for name in before if name.partition(".")[0] in ("dml", "h5py", "networkx", "numpy")]
    modules = len(sys.modules.keys() - there)
    print(json.dumps({"torch": with_torch - started, "rest": rest, "modules": modules}))


if __name__ == "__main__":
    if sys.argv[1] == "list":
        _list(sys.argv[2])
    else:
        _time(Path(sys.argv[2]))
