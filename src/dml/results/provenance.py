"""The provenance of a run: the entry with machine, versions and times that each start adds to its file."""

import platform
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dml

_LIBRARIES = ("torch", "numpy", "scipy", "networkx", "h5py", "scikit-learn")


def segment(machine: Mapping[str, Any], from_round: int) -> dict[str, Any]:
    """The entry of a run that starts now.

    Args:
        machine: facts about the machine: ``accelerator`` (name and model), ``threads`` (of torch on the CPU),
            ``engine``, ``deterministic`` (to what extent a repeated run gives the same bits, see
            :data:`dml.accelerators.REPEATS`), ``ipex`` (version of Intel's extension, or None).
        from_round: the first round of this run.
    """
    return {
        "started": now(),
        "finished": None,
        "from_round": from_round,
        "host": socket.gethostname(),
        **machine,
        "versions": {"python": platform.python_version(), "dml": dml.__version__} | _versions(),
        "git_commit": git_commit(),
        "command": sys.argv,
    }


def now() -> str:
    """The current time with its time zone, as ISO text."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def git_commit(inside: Path = Path(__file__)) -> str | None:
    """The commit that is checked out, read without git; None outside a repository.

    Args:
        inside: a path in the repository; by default this library's own.
    """
    try:
        git = next(f / ".git" for f in inside.resolve().parents if (f / ".git").exists())
        shared = git
        if git.is_file():
            # A worktree: the file names its folder, which names that of the repository.
            git = (git.parent / git.read_text().strip().removeprefix("gitdir: ")).resolve()
            shared = (git / (git / "commondir").read_text().strip()).resolve()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        if (shared / ref).exists():
            return (shared / ref).read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next(line.split()[0] for line in packed if line.endswith(f" {ref}"))
    except (StopIteration, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
