"""The workers end with the scheduler.

Parsl's interchange, managers and workers live on when the scheduler is killed hard, and would run the whole
sweep behind the user's back (Parsl#3663). So the scheduler leaves signs of life, a process and a file that
changes, and everything that it started looks for them:

* a task asks its `SchedulerWatch` once a round, and stops after a checkpoint when the scheduler is lost;
* Parsl's own processes cannot ask, so `watched` starts each of them under ``python -m dml.parallel.watch``,
  which ends them. It never kills a worker hard: a busy one gets SIGTERM, once or twice, and has its time.

Nothing here imports Parsl or torch, as each of Parsl's processes waits for this module to start.
"""

import contextlib
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from parsl import Config

PATIENCE = 15.0
"""Seconds without a sign of life after which the scheduler is lost."""

POLL = 1.0
"""Seconds between two looks of a process that watches for one of Parsl's."""

SAME_START = 2.0
"""Two readings of one process's start differ by as much as the host's clock was set in between [s]."""

_POOL = re.compile(r"(?:\S*python[\d.]*\s+(?:-\S+\s+)*)?\S*process_worker_pool\.py")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Scheduler:
    """One scheduler process, and the file in which it shows that it lives.

    Args:
        host: name of the host it runs on.
        pid: its process id there.
        started: when it started, so that a later process of the same id is another one [s].
        heartbeat: absolute path of its heartbeat file, which no other scheduler writes.
    """

    host: str
    pid: int
    started: float
    heartbeat: str

    @classmethod
    def here(cls, heartbeat: str | Path) -> Self:
        """This process, as the scheduler that writes `heartbeat`."""
        process = psutil.Process()
        return cls(socket.gethostname(), process.pid, process.create_time(), os.path.abspath(heartbeat))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The scheduler that `to_dict` wrote into a task's spec."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def signature(self) -> str:
        """What its heartbeats begin with: those of another scheduler in the same file are not its own."""
        return f"{self.host} {self.pid} {self.started!r} "


class Heartbeat:
    """Shows, while it is entered, that this process lives: a thread rewrites a file with a growing count.

    Args:
        path: the file, on a file system that all hosts share. One scheduler, one file: put the host and the
            process id into its name where two schedulers may share a folder.
        period: seconds between two beats; several must fit into the patience of those who watch.
    """

    def __init__(self, path: str | Path, period: float = 3.0) -> None:
        self.scheduler = Scheduler.here(path)
        self.period = period
        self._path = Path(self.scheduler.heartbeat)
        self._new = self._path.with_name(self._path.name + ".new")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._beat(0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)
        self._new.unlink(missing_ok=True)

    def _keep_beating(self) -> None:
        beat = 0
        while not self._end.wait(self.period):
            beat += 1
            with contextlib.suppress(OSError):  # a full disk for a moment must not end the heart for good
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        # Renamed into place: a reader never sees half a beat, and never a moment without one.
        self._new.write_text(f"{self.scheduler.signature}{beat}\n", encoding="utf-8")
        self._new.replace(self._path)


class SchedulerWatch:
    """Says whether a scheduler is lost: neither its process nor a new beat was seen for `patience` seconds.

    Beats are compared by content, and time is the local monotonic clock's, as two hosts' clocks may differ.

    Args:
        scheduler: the one to look for.
        patience: seconds.
    """

    def __init__(self, scheduler: Scheduler, patience: float = PATIENCE) -> None:
        self.scheduler = scheduler
        self.patience = patience
        self._lost = False
        self._beat = self._read()
        self._seen = time.monotonic()

    def lost(self) -> bool:
        """Looks once, in about 0.1 ms and without waiting. Once lost, always lost."""
        if not self._lost:
            now = time.monotonic()
            if self._runs() or self._has_beaten():
                self._seen = now
            self._lost = now - self._seen > self.patience
        return self._lost

    def _runs(self) -> bool:
        if self.scheduler.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.scheduler.pid)
            same = abs(process.create_time() - self.scheduler.started) < SAME_START
            return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.Error:
            return False

    def _has_beaten(self) -> bool:
        before, self._beat = self._beat, self._read() or self._beat
        return self._beat != before

    def _read(self) -> str:
        try:
            beat = Path(self.scheduler.heartbeat).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return beat if beat.startswith(self.scheduler.signature) else ""


def watched(config: "Config", scheduler: Scheduler, patience: float = PATIENCE) -> None:
    """Makes every HighThroughputExecutor of a Parsl configuration end with the scheduler.

    Args:
        config: changed in place, before it is loaded; any site's, the user's own included.
        scheduler: the process to end with.
        patience: seconds without a sign of it.
    """
    from parsl.executors import HighThroughputExecutor

    who = [scheduler.host, str(scheduler.pid), repr(scheduler.started), scheduler.heartbeat, str(patience)]
    # -P: a file named like one of Python's modules in the user's folder must not be taken for it.
    wrapper = [sys.executable, "-P", "-m", "dml.parallel.watch", *who, "--"]
    for executor in config.executors:
        if isinstance(executor, HighThroughputExecutor):
            executor.interchange_launch_cmd = [*wrapper, *executor.interchange_launch_cmd]
            pool = _POOL.search(executor.launch_cmd)  # what stands before it, as `X=1`, is for the shell
            at = pool.start() if pool else 0
            before, command = executor.launch_cmd[:at], executor.launch_cmd[at:]
            # Where a worker is pinned before it imports torch, it must not come with torch imported.
            pinned = executor.available_accelerators or executor.cpu_affinity != "none"
            if command.startswith("process_worker_pool.py") and not pinned:
                command = f"{_escaped([sys.executable, '-P', '-m', 'dml.parallel.pool'])} {command}"
            executor.launch_cmd = f"{before}{_escaped(wrapper)} {command}"


def _escaped(words: Sequence[str]) -> str:
    # Parsl formats the managers' command twice, so a brace of a path is written four times.
    return shlex.join(words).replace("{", "{{{{").replace("}", "}}}}")


def main(arguments: Sequence[str]) -> int:
    """Runs a command that ends with the scheduler.

    Args:
        arguments: host, pid, start, heartbeat file and patience, ``--``, and the command.

    Returns:
        The command's exit status, as a shell gives it.
    """
    split = arguments.index("--")
    host, pid, started, heartbeat, patience = arguments[:split]
    watch = SchedulerWatch(Scheduler(host, int(pid), float(started), heartbeat), float(patience))
    return _run(beside_python(arguments[split + 1 :]), watch)


def beside_python(command: Sequence[str]) -> list[str]:
    """The command with Parsl's script taken from the folder of this Python, where there is one: PATH may not
    have it. Run by this Python and not by its first line, which must be short and hold no space.
    """
    script = Path(sys.executable).parent / command[0]
    if Path(command[0]).name != command[0] or not script.is_file():
        return list(command)
    return [*([sys.executable] if script.suffix == ".py" else []), str(script), *command[1:]]


def _run(command: list[str], watch: SchedulerWatch) -> int:
    child: subprocess.Popen[bytes] | None = None
    told_to_end = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal told_to_end
        told_to_end = True
        if child is not None:
            child.terminate()

    # Ctrl-C reaches the whole foreground group. The scheduler answers it, and ends us by SIGTERM; the child
    # inherits the deaf ear, or each of Parsl's processes would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the child leaves behind becomes ours, so that it can be ended
    try:
        child = subprocess.Popen(command, preexec_fn=partial(_end_with, os.getpid()))
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    if told_to_end:
        child.terminate()

    left: set[psutil.Process] = set()
    while child.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(POLL)
        if child.returncode is None and watch.lost():
            left = _descendants() - {psutil.Process(child.pid)}
            # Hard, as a manager that ends by itself kills its busy workers after one second.
            child.kill()
    _end_gently(left | _descendants())
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _end_gently(processes: set[psutil.Process]) -> None:
    """Asks processes to end and waits for them: idle workers and the server of Parsl's shared objects die at
    once, a worker inside an experiment at its next round. Waiting keeps mpiexec from clearing the host.
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(processes)


def _end_with(parent: int) -> None:
    """Called in the child before its program starts: it dies if the watching process is killed hard."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":  # elsewhere we do without
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
