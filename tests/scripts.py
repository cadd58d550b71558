"""Where the scripts lie, and how a test calls them."""

import contextlib
import io
import logging
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "src" / "experiments"

Script = Callable[..., "subprocess.CompletedProcess[str]"]
"""The fixtures ``script`` and ``process``: name, arguments; ``process`` also ``subprocess.run``'s."""


def run_here(path: Path, arguments: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a script in this process, as ``python path arguments`` would in that folder.

    Its imports are there already, which in a process of its own take most of the time.
    """
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _unchanged(),
    ):
        sys.argv = [str(path), *arguments]
        try:
            runpy.run_path(str(path), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.argv = argv
    return subprocess.CompletedProcess([str(path), *arguments], code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """Sets back what a script sets for its process: the number of threads, and where messages go."""
    threads, logger = torch.get_num_threads(), logging.getLogger("dml")
    before = logger.level, logger.propagate, logger.handlers[:]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logger.level, logger.propagate, logger.handlers[:] = before
