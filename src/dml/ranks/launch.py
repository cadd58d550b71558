"""Starts the other ranks of an experiment on this host, and ends them.

This process is rank 0. The others are children of it that get the experiment's flags as JSON in a folder that
only their user can open. Whichever process ends before the others, however it ends, ends all of them: a child
reads a pipe that this process holds, and this process asks every half second whether its children are there.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dml.errors import EXIT_AGAIN, LostRankError, one_line
from dml.ranks.join import Join, joined
from dml.ranks.ranks import ALONE, Ranks
from dml.ranks.seat import Seat

FLAGS, PROGRAM = "flags.json", "dml.other_rank"
"""The file with the flags, and the module that a child runs."""


SHARDS = "DML_SHARDS"
"""The variable that tells a worker of a sweep how many processes share an experiment."""


def shared(size: int, flags: Mapping[str, Any], accelerator: str) -> Join:
    """Starts the other ranks of an experiment, if there is something to compute.

    Args:
        size: how many processes there are, this one included.
        flags: of the experiment, as JSON values.
        accelerator: the name of what models train on.
    """

    @contextmanager
    def join(missing: bool) -> Iterator[Ranks]:
        if not missing or size == 1:
            yield ALONE
            return
        with started(size, flags, accelerator) as ranks:
            ranks.largest(1)
            yield ranks

    return join


ASKING_S = 0.5
"""Seconds between two looks at the children."""

GRACE_S = 10.0
"""Seconds that a process gets to end by itself when another one has ended, and at the end of a run."""


@contextmanager
def started(size: int, flags: Mapping[str, Any], accelerator: str) -> Iterator[Ranks]:
    """Starts the other ranks, and gives them all back within the block, of which this process is rank 0.

    Args:
        size: how many processes there are, this one included.
        flags: of the experiment, as JSON values.
        accelerator: the name of what models train on.

    Raises:
        InputError: the host has fewer accelerators.
        LostRankError: a process has ended before the block did.
    """
    folder = Path(tempfile.mkdtemp(prefix="distributed_ml-ranks-"))
    children: list[subprocess.Popen[bytes]] = []
    leaving = threading.Event()
    try:
        (folder / FLAGS).write_text(json.dumps(dict(flags)), encoding="utf-8")
        children += [_start(folder, Seat(rank, size, rank, size, shown=False)) for rank in range(1, size)]
        watch = threading.Thread(target=_watch, args=(children, leaving, folder), daemon=True)
        watch.start()
        with joined(Seat(0, size, 0, size, shown=False), accelerator, folder) as ranks:
            yield ranks
            leaving.set()
    except LostRankError as error:
        # A child that has closed its connections may need a moment more to end.
        _wait_until(lambda: any(child.poll() is not None for child in children), 1.0)
        raise LostRankError(_why(children, folder) or str(error)) from error
    finally:
        leaving.set()
        _end(children)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, seat: Seat) -> "subprocess.Popen[bytes]":
    told = [str(folder), str(seat.rank), str(seat.size)]
    with (folder / f"stderr-{seat.rank}").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", PROGRAM, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C in a terminal is for rank 0, which tells the others.
            start_new_session=True,
        )


def _watch(children: "Sequence[subprocess.Popen[bytes]]", leaving: threading.Event, folder: Path) -> None:
    """Ends this process if a child has ended and nobody else has noticed, as in a long round."""
    while not leaving.wait(ASKING_S):
        if any(child.poll() is not None for child in children):
            if not leaving.wait(GRACE_S):
                why = _why(children, folder) or "another process of the experiment has ended"
                with contextlib.suppress(OSError, ValueError):
                    print(f"error: {why}\nrun the same command to continue", file=sys.stderr, flush=True)
                _end(children, grace=0.0)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(EXIT_AGAIN)
            return


def _why(children: "Sequence[subprocess.Popen[bytes]]", folder: Path) -> str | None:
    """What has ended the first of the children that has ended, in words; None if all are there."""
    for rank, child in enumerate(children, 1):
        code = child.poll()
        if code is None:
            continue
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        told = (folder / f"stderr-{rank}").read_text(encoding="utf-8", errors="replace").strip()
        last = f": {one_line(told.splitlines()[-1])}" if told else ""
        return f"process {rank} of {len(children) + 1} of the experiment has ended ({how}){last}"
    return None


def _end(children: "Sequence[subprocess.Popen[bytes]]", grace: float = GRACE_S) -> None:
    """Waits until the children have ended, and kills those that do not."""
    for child in children:
        assert child.stdin is not None
        with contextlib.suppress(OSError):
            child.stdin.close()
    _wait_until(lambda: all(child.poll() is not None for child in children), grace)
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _wait_until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)


def end_with_parent(leaving: threading.Event, folder: Path) -> None:
    """Ends this process, which is a child, when its parent has ended; the parent holds the pipe at stdin.

    Args:
        leaving: set when the process has done its part, and ends by itself.
        folder: in which they have met; removed if the parent can no longer do so.
    """
    parent = os.getppid()

    def wait() -> None:
        os.read(0, 1)
        # A process that is killed closes its pipes a moment before its children get another parent.
        _wait_until(lambda: os.getppid() != parent, 0.2)
        if os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)
        if not leaving.wait(GRACE_S):
            os._exit(EXIT_AGAIN)

    threading.Thread(target=wait, daemon=True).start()
