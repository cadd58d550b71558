"""All uses of Parsl that go beyond its documented interface.

A new version of Parsl may change any of this without notice. If the tests of this module fail after an
update, look here; `CHECKED` is the version with which everything was seen to work.

Parsl is imported within the functions: :mod:`dml.parallel.watch` and :mod:`dml.parallel.pool` use this module
in processes that must start fast.
"""

import re
import shlex
from collections.abc import Sequence
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl import Config
    from parsl.executors import HighThroughputExecutor

CHECKED = "2026.10.26"
"""The version of Parsl with which this module was checked."""

POOL = "process_worker_pool.py"
"""The script that Parsl runs on every host of a block, and that starts the workers of the host."""

_POOL_COMMAND = re.compile(rf"(?:\S*python[\d.]*\s+(?:-\S+\s+)*)?\S*{re.escape(POOL)}")


def start_workers_from(context: BaseContext) -> None:
    """Makes Parsl's worker pool start its workers from `context`, if it is run later in this process.

    The pool imports the name `SpawnContext` from `parsl.multiprocessing` when its script is run.
    """
    import parsl.multiprocessing

    parsl.multiprocessing.SpawnContext = context  # type: ignore[assignment]


def interchange_has_ended(config: "Config") -> bool:
    """Whether the interchange of an executor, the process through which Parsl hands out tasks, has ended.

    Parsl itself does not check. The attribute is a ``subprocess.Popen`` once the executor has started.
    """
    processes = [getattr(executor, "interchange_proc", None) for executor in config.executors]
    return any(process is not None and process.poll() is not None for process in processes)


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
        pool: goes between the wrapper and the managers' command, if that command is Parsl's pool and its
            workers are not pinned. A worker must be pinned to an accelerator or to cores before it imports
            torch, so it cannot be forked from a process that has imported torch.
    """
    executor.interchange_launch_cmd = [*wrapper, *executor.interchange_launch_cmd]
    found = _POOL_COMMAND.search(executor.launch_cmd)  # Words before it, such as `X=1`, are for the shell.
    at = found.start() if found else 0
    before, command = executor.launch_cmd[:at], executor.launch_cmd[at:]
    pinned = executor.available_accelerators or executor.cpu_affinity != "none"
    if command.startswith(POOL) and not pinned:
        command = f"{_escaped(pool)} {command}"
    executor.launch_cmd = f"{before}{_escaped(wrapper)} {command}"


def _escaped(words: Sequence[str]) -> str:
    # Parsl formats the managers' command twice, so a brace in a path must be written four times.
    return shlex.join(words).replace("{", "{{{{").replace("}", "}}}}")
