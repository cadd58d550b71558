"""Computes the simulated time of finished experiments for another clock, without training."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dml.clock.config import OF_ROUNDS, ClockConfig
from dml.config import ExperimentConfig
from dml.results import files, sealed, simulated_time, visit_times
from dml.results.lock import LockedError, locked

_log = logging.getLogger(__name__)


def differs(then: Mapping[str, Any], config: ExperimentConfig) -> bool:
    """Whether the times in a file are those of another clock than the one of this call.

    Args:
        then: the fields of the file's configuration; older files lack those of the clock.
        config: the experiment of this call.
    """
    usual, now = ClockConfig().flat(), config.clock.flat()
    known = config.records()
    return any(then.get(field, usual[field]) != now[field] for field in OF_ROUNDS if field in known)


def recompute(result: Path, config: ExperimentConfig) -> None:
    """Replaces the times in the file of a finished experiment. The caller holds its lock.

    Args:
        result: the file.
        config: the experiment, with another clock than the file's.

    Raises:
        DamagedFileError: the file cannot be read.
        UnwritableFileError: it cannot be written; the old one is still there.
    """
    with files.read(result) as file:
        content = sealed.read(file)
        content.verify()
        flat = json.loads(content.root["config"])
        visits = visit_times.account_in(content, config) if visit_times.COSTS in content.root else None
    if visits is None and simulated_time.costs_in(content.arrays) is None:
        _log.info(
            f"{result.name} does not hold what a clock needs, as it is older: it gets no simulated time"
        )
        return
    clock = config.clock.flat()
    if visits is not None:
        visit_times.put_times(content, config, visits)
    else:
        simulated_time.put_times(content, config.clock, flat)
    content.root["config"] = json.dumps(flat | clock)
    content.write(result)
    shown = ", ".join(
        f"{field} {_words(clock[field])}" for field in OF_ROUNDS if clock[field] not in (None, [])
    )
    _log.info(
        f"{result.name}: its simulated time was computed again, without training, for the clock {shown}"
    )


def recompute_unless_locked(result: Path, experiment_id: str, config: ExperimentConfig) -> None:
    """The same for a caller that does not hold the lock; nothing happens while another process has it."""
    with suppress(LockedError), locked(result, experiment_id):
        recompute(result, config)


def _words(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
