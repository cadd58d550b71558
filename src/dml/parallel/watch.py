"""Makes Parsl's processes end with the process that owns them.

They cannot check whether their owner is alive (see :mod:`dml.parallel.owner`), so :func:`watch_executors`
starts each of them under ``python -m dml.parallel.watch``, which checks, and ends them. It never sends
SIGKILL to a worker: a busy worker gets SIGTERM, once or twice, and the time that it needs to save its work.

This module must not import Parsl or torch, because the start of each of Parsl's processes waits for it.
"""

import signal

if __name__ == "__main__":
    # Before anything else, as Ctrl-C reaches the whole foreground group, and the owner handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from dml.parallel import walltime
from dml.parallel.limits import Limits
from dml.parallel.owner import PATIENCE, Owner, OwnerWatch

if TYPE_CHECKING:
    from parsl import Config

POLL = 1.0
"""Seconds between two checks for the owner."""

FAILING = "failing_workers"
"""The name of the file, beside the heartbeat, in which a pool says that its workers fail."""

_MODULE = "dml.parallel.watch"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def watch_executors(
    config: "Config", owner: Owner, limits: Limits | None = None, patience: float = PATIENCE
) -> None:
    """Makes every HighThroughputExecutor of a Parsl configuration end with its owner.

    Args:
        config: the configuration of any site, which is changed in place before it is loaded.
        owner: the process to end with.
        limits: the time that the workers have, and their grace.
        patience: seconds without a sign of life from the owner.
    """
    from parsl.executors import HighThroughputExecutor

    from dml.parallel.parsl_private import wrap_commands

    limits = limits or Limits()
    folder = Path(owner.heartbeat).parent
    told = ["--failing", str(folder / FAILING), "--ends_at", repr(limits.ends_at), "--of_job", walltime.job()]
    told += [] if limits.margin is None else ["--margin", repr(limits.margin)]
    who = [owner.host, str(owner.pid), repr(owner.started), owner.heartbeat, str(patience), str(limits.grace)]
    # -P: a file in the user's folder must not be imported instead of a Python module of the same name.
    python = [sys.executable, "-P", "-m"]
    for executor in config.executors:
        if isinstance(executor, HighThroughputExecutor):
            wrap_commands(
                executor,
                wrapper=[*python, _MODULE, *who, "--"],
                pool=[*python, "dml.parallel.pool", *told],
            )


def main(arguments: Sequence[str]) -> int:
    """Runs a command that ends with its owner.

    Args:
        arguments: host, pid, start, heartbeat file, patience and grace, ``--``, and the command.

    Returns:
        The command's exit status, as a shell gives it.
    """
    split = arguments.index("--")
    host, pid, started, heartbeat, patience, grace = arguments[:split]
    watch = OwnerWatch(Owner(host, int(pid), float(started), heartbeat), float(patience))
    # Processes that are killed leave the folders of their sockets, so they get a place that is removed.
    with tempfile.TemporaryDirectory(prefix="dml-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = folder
        return _run(beside_python(arguments[split + 1 :]), watch, float(grace))


def tell_local(owner: Owner) -> list[psutil.Process]:
    """Asks all processes on this host that watch for an owner to end, and returns them.

    Args:
        owner: the process that started them, as they were told.
    """
    told = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if _MODULE in words and {str(owner.pid), repr(owner.started), owner.heartbeat} <= set(words):
            with contextlib.suppress(psutil.Error):
                process.terminate()
                told.append(process)
    return told


def beside_python(command: Sequence[str]) -> list[str]:
    """The command, with the full path of its script if it is next to this Python, as PATH may not have it.

    This Python runs a Python script directly, because a path in its first line must be short and without a
    space.
    """
    script = Path(sys.executable).parent / command[0]
    if Path(command[0]).name != command[0] or not script.is_file():
        return list(command)
    return [*([sys.executable] if script.suffix == ".py" else []), str(script), *command[1:]]


def _run(command: list[str], watch: OwnerWatch, grace: float) -> int:
    child: subprocess.Popen[bytes] | None = None
    left: set[psutil.Process] = set()
    told_to_end = False

    def end(number: int = 0, frame: FrameType | None = None) -> None:
        nonlocal told_to_end
        told_to_end = True
        if child is not None and child.returncode is None:
            left.update(_descendants() - {psutil.Process(child.pid)})
            # Killed hard: a manager that ends by itself kills its busy workers after one second.
            child.kill()

    # Ctrl-C reaches the whole foreground group. The owner handles it, and ends this process by SIGTERM. The
    # child inherits that Ctrl-C is ignored; otherwise each of Parsl's processes would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # Orphans of the child become ours, so that we can end them.
    try:
        child = subprocess.Popen(command, preexec_fn=partial(end_with_parent, os.getpid()))
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    if told_to_end:
        end()
    while child.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(POLL)
        if not told_to_end and watch.lost():
            end()
    _end_gently(left | _descendants(), grace)
    if told_to_end:
        return 128 + signal.SIGTERM
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _end_gently(processes: set[psutil.Process], grace: float) -> None:
    """Asks processes to end, waits for them, and kills those that have not ended after `grace` seconds.

    Idle workers and the server of Parsl's shared objects end at once, and busy workers after the current
    round. Without waiting, mpiexec would kill everything on the host as soon as this process ends.
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    # A second SIGTERM to this process changes nothing.
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=1)


def end_with_parent(parent: int | None = None, number: int = signal.SIGKILL) -> None:
    """Makes this process get a signal when its parent ends, however that happens.

    Args:
        parent: the parent that was there when this process was started; it may have ended since.
        number: the signal.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":  # Other systems have no such call.
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
