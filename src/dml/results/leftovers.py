"""What a kill in the last writes of an experiment leaves beside its result file, and its removal.

A kill may leave files that are half written, the lock, and, once the result is complete, a checkpoint that
was to be removed. An experiment that goes on overwrites them; of one that has ended nobody else would.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dml.files import temporary
from dml.results import checkpoint, reader
from dml.results.lock import LockedError, lock_of, locked
from dml.results.status import Status


def remove_leftovers(result: Path) -> None:
    """Removes what is left of an experiment. The caller holds its lock, or nobody else runs it.

    Args:
        result: its result file.
    """
    for path in _leftovers(result, reader.attributes(result)):
        path.unlink(missing_ok=True)


def tidy(result: Path, found: Mapping[str, Any]) -> None:
    """Removes what is left of an experiment that has ended, unless another process runs it again.

    Args:
        result: its result file.
        found: the attributes of this file.
    """
    if _leftovers(result, found) or lock_of(result, found["experiment_id"]).exists():
        with contextlib.suppress(LockedError), locked(result, found["experiment_id"]):
            remove_leftovers(result)


def _leftovers(result: Path, found: Mapping[str, Any]) -> list[Path]:
    saved = checkpoint.path_of(result)
    paths = [temporary(result), temporary(saved)]
    if found["status"] != Status.RUNNING and not found["config"].get("keep_checkpoint", True):
        paths.append(saved)
    return [path for path in paths if path.exists()]
