"""The provenance of a run: the entry with machine, versions and times that each start adds to its file."""

import math
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dml

UNKNOWN = "unknown"

GIT_SECONDS = 20.0
"""The longest time that git may take to answer, as on a slow file system."""

_LIBRARIES = ("torch", "numpy", "scipy", "networkx", "h5py", "scikit-learn", "transformers", "peft")


def segment(machine: Mapping[str, Any], from_round: int, code: str, commit: str) -> dict[str, Any]:
    """The entry of a run that starts now.

    Args:
        machine: facts about the machine: ``accelerator`` (name and model), ``threads`` (of torch on the CPU),
            ``engine``, ``deterministic`` (to what extent a repeated run gives the same bits, see
            :data:`dml.accelerators.REPEATS`), ``ipex`` (version of Intel's extension, or None).
        from_round: the first round of this run.
        code: the hash of the code (:mod:`dml.code_hash`).
        commit: the state of the code in git (:func:`git_state`).
    """
    return {
        "started": now(),
        "finished": None,
        "from_round": from_round,
        "host": socket.gethostname(),
        **machine,
        "versions": {"python": platform.python_version(), "dml": dml.__version__} | _versions(),
        "code_sha256": code,
        "git_commit": commit,
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


def git_state(inside: Path = Path(__file__)) -> str:
    """The commit that is checked out, and whether the files differ from it.

    ``<commit>`` alone means that no file that git knows has been changed, and that no module was added to
    this library. ``<commit> dirty`` means that one has, and ``<commit> unknown`` that there is no git to ask.
    Outside a repository the state is ``unknown``.

    Args:
        inside: a path in the repository; by default this library's own.
    """
    commit = git_commit(inside)
    if commit is None:
        return UNKNOWN
    try:
        changed = _git(inside, "status", "--porcelain", "--untracked-files=no")
        added = _git(inside, "ls-files", "--others", "--exclude-standard", "*.py")
    except (OSError, subprocess.SubprocessError):
        return f"{commit} {UNKNOWN}"
    return f"{commit} dirty" if changed or added else commit


def _git(inside: Path, *words: str) -> str:
    package = Path(dml.__file__).parent if inside == Path(__file__) else inside.parent
    # Without optional locks, asking does not disturb a git command of the user.
    command = ["git", "--no-optional-locks", "-C", str(package), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)
    return done.stdout.strip()


def codes(segments: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hashes of the code by which the rounds of a file were computed, in their order, each once.

    Args:
        segments: the entries of all starts; rounds of an earlier one may have been computed again later.
    """
    found, end = [], math.inf
    for entry in reversed(segments):
        if entry.get("from_round", 0) < end:
            end = entry.get("from_round", 0)
            found.append(str(entry.get("code_sha256", UNKNOWN)))
    return list(dict.fromkeys(reversed(found)))


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
