"""All uses of Parsl that go beyond its documented interface.

A new version of Parsl may change any of this without notice. If the tests of this module fail after an
update, look here; `CHECKED` is the version with which everything was seen to work.

Parsl is imported within the functions: :mod:`dml.parallel.watch` and :mod:`dml.parallel.pool` use this module
in processes that must start fast.
"""

import argparse
import multiprocessing.connection
import multiprocessing.util
import os
import re
import shlex
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.managers import BaseManager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from parsl import Config
    from parsl.executors import HighThroughputExecutor

CHECKED = "2026.10.26"
"""The version of Parsl with which this module was checked."""

POOL = "process_worker_pool.py"
"""The script that Parsl runs on every host of a block, and that starts the workers of the host."""

_SAYS = "worker pool: "
"""How the line on stderr begins in which a pool says why it ends."""

_POOL_COMMAND = re.compile(rf"(?:\S*python[\d.]*\s+(?:-\S+\s+)*)?\S*{re.escape(POOL)}")


def start_workers_from(context: BaseContext) -> None:
    """Makes Parsl's worker pool start its workers from `context`, if it is run later in this process.

    The pool imports the name `SpawnContext` from `parsl.multiprocessing` when its script is run.
    """
    import parsl.multiprocessing

    parsl.multiprocessing.SpawnContext = context  # type: ignore[assignment]


def drain_after(seconds: float) -> list[str]:
    """Words for the pool's command line: from then on it takes no tasks, and ends when it has none."""
    return [f"--drain_period={int(seconds)}"]


def end_with_shared_objects() -> None:
    """Makes Parsl's worker pool, if it is run later in this process, end with its server of shared objects.

    The pool and its workers share objects through a ``multiprocessing.Manager``, a process that looks like a
    worker. If the system's memory killer takes that process, the pool waits forever.
    """
    start = BaseManager.start

    def started(manager: BaseManager, *arguments: Any, **options: Any) -> None:
        start(manager, *arguments, **options)
        server = manager._process  # type: ignore[attr-defined]
        threading.Thread(target=_end_with, args=(server,), name="server", daemon=True).start()

    BaseManager.start = started  # type: ignore[assignment, method-assign]


def _end_with(server: BaseProcess) -> None:
    multiprocessing.connection.wait([server.sentinel])
    if not multiprocessing.util.is_exiting():
        end_pool("the server of the pool's shared objects was killed")


def end_pool(why: str) -> NoReturn:
    """Ends Parsl's worker pool, in whose process this is called; its workers end with it.

    Args:
        why: what the scheduler finds in :func:`blocks`.
    """
    print(f"{_SAYS}{why}", file=sys.stderr, flush=True)
    os._exit(1)


def logs_of(command: Sequence[str], name: str) -> tuple[list[str], Path]:
    """Gives a pool a name of ours, by which the folder of its logs is found.

    Args:
        command: the pool's command line.
        name: another one for each pool.

    Returns:
        The words that set the name, and the folder, in which worker k writes ``worker_k.log``.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--logdir", default=".")
    parser.add_argument("--block_id")
    known, _ = parser.parse_known_args(command)
    return [f"--uid={name}"], Path(known.logdir, f"block-{known.block_id}", name)


def interchange_has_ended(config: "Config") -> bool:
    """Whether the interchange of an executor, the process through which Parsl hands out tasks, has ended.

    Parsl itself does not check. The attribute is a ``subprocess.Popen`` once the executor has started.
    """
    processes = [getattr(executor, "interchange_proc", None) for executor in config.executors]
    return any(process is not None and process.poll() is not None for process in processes)


@dataclass(frozen=True)
class Block:
    """A job that was submitted for workers; Parsl's word is block.

    Args:
        job: the job in words, such as "job 4711".
        refused: whether it could not be submitted.
        state: the name of Parsl's state, such as RUNNING or TIMEOUT. MISSING: it ended before any of its
            workers had connected.
        ended: whether that state is final.
        why: what is known of the reason.
        label: the name of its executor.
    """

    job: str
    refused: bool
    state: str
    ended: bool
    why: str
    label: str


def blocks(config: "Config") -> list[Block]:
    """The blocks of all executors, as they were when Parsl last asked the batch system."""
    found = []
    for executor in config.executors:
        jobs = dict(getattr(executor, "blocks_to_job_id", {}))
        for number, status in dict(getattr(executor, "status_facade", {})).items():
            why = " ".join((status.message or "").split())
            lines = (status.stderr_summary or "").strip().splitlines()
            said = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
            if said:
                why = said[-1]
            # If workers have connected, the last line is about their end and not its reason.
            elif status.state.name == "MISSING" and lines:
                why = f"{lines[-1].strip()}, in {status.stderr_path}"
            # What Parsl says of a refusal ends with what the batch system has said.
            why = why.rpartition("stderr=")[2].strip() or why
            # A job of a LocalProvider is a process of this host.
            here = type(getattr(executor, "provider", None)).__name__ == "LocalProvider"
            job = f"{'process' if here else 'job'} {jobs.get(number, number)}"
            found.append(
                Block(job, number not in jobs, status.state.name, status.terminal, why, executor.label)
            )
    return found


def submit(config: "Config", label: str) -> None:
    """Submits another block for the executor of that label."""
    for executor in config.executors:
        if executor.label == label:
            executor.scale_out_facade(1)  # type: ignore[attr-defined]


def keep_errors_from(config: "Config") -> None:
    """Makes Parsl leave it to us what follows when blocks end; it would fail all tasks, or do nothing."""
    from parsl.jobs.error_handlers import noop_error_handler

    for executor in config.executors:
        if hasattr(executor, "block_error_handler"):
            executor.block_error_handler = noop_error_handler


def cancel_blocks(config: "Config") -> None:
    """Cancels the jobs that hold the workers, without asking Parsl's interchange for them.

    Parsl's own way out asks the interchange which blocks are idle, and waits for its answer.
    """
    for executor in config.executors:
        provider, blocks = getattr(executor, "provider", None), getattr(executor, "blocks_to_job_id", {})
        if provider is not None and blocks:
            provider.cancel(list(blocks.values()))


def wrap_commands(executor: "HighThroughputExecutor", wrapper: Sequence[str], pool: Sequence[str]) -> None:
    """Puts other commands before those with which an executor starts its processes.

    Args:
        executor: changed in place, before it is started.
        wrapper: goes before the commands of the interchange and of the managers.
        pool: goes between the wrapper and the managers' command, if that command is Parsl's pool; followed
            by ``--pinned`` if its workers are pinned to accelerators or cores.
    """
    executor.interchange_launch_cmd = [*wrapper, *executor.interchange_launch_cmd]
    found = _POOL_COMMAND.search(executor.launch_cmd)  # Words before it, such as `X=1`, are for the shell.
    at = found.start() if found else 0
    before, command = executor.launch_cmd[:at], executor.launch_cmd[at:]
    pinned = executor.available_accelerators or executor.cpu_affinity != "none"
    if command.startswith(POOL):
        command = f"{_escaped([*pool, *(['--pinned'] if pinned else [])])} {command}"
    executor.launch_cmd = f"{before}{_escaped(wrapper)} {command}"


def _escaped(words: Sequence[str]) -> str:
    # Parsl formats the managers' command twice, so a brace in a path must be written four times.
    return shlex.join(words).replace("{", "{{{{").replace("}", "}}}}")
