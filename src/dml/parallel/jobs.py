"""The jobs that hold the workers of a call: those that end are replaced, until a number is used up.

On a login node they are jobs of the batch system, which end by their walltime or by ``scancel``. Within a
job and on one machine there is one, which ends if its processes are killed. Parsl itself submits no other job
when one has ended, and then waits forever.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING

from dml.errors import FailingWorkersError, LostWorkersError, NoMoreWorkersError, OutOfTimeError
from dml.parallel import parsl_private
from dml.parallel.limits import Limits

if TYPE_CHECKING:
    from parsl import Config

    from dml.parallel.parsl_private import Block

_log = logging.getLogger(__name__)

REFUSED = "a job could not be submitted"

SETTLE = 30.0
"""Seconds for which Parsl may have no job if a strategy of Parsl's own submits them."""


class Jobs:
    """The jobs of one call.

    Args:
        limits: how many may be submitted, and until when.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._left = limits, limits.jobs
        self._lock = threading.Lock()
        self._replaced: set[tuple[str, str]] = set()
        self._none_since: float | None = None

    def prepare(self, config: "Config") -> None:
        """Counts the jobs with which a configuration starts; called before it is loaded.

        Raises:
            NoMoreWorkersError: no job is left.
            OutOfTimeError: the time is over.
        """
        self._check()
        self._replaced.clear()
        self._none_since = None
        parsl_private.keep_errors_from(config)
        for executor in config.executors:
            provider = getattr(executor, "provider", None)
            if provider is not None:
                provider.init_blocks = min(provider.init_blocks, self._left)
                self._left -= provider.init_blocks

    def look(self, config: "Config") -> None:
        """Replaces the jobs that have ended; any thread may call this.

        Raises:
            LostWorkersError: all have ended, so that the workers must be started again.
            NoMoreWorkersError: all have ended, and no other may be submitted.
            FailingWorkersError: the batch system has refused all.
            OutOfTimeError: all have ended, as the time is over.
        """
        with self._lock:
            blocks = parsl_private.blocks(config)
            ended = [block for block in blocks if block.ended]
            if not blocks or len(ended) < len(blocks):
                self._none_since = None
                for block in ended:
                    self._replace(config, block)
                return
            if all(block.refused for block in blocks):
                raise FailingWorkersError(f"{REFUSED}: {blocks[-1].why}")
            now = time.monotonic()
            self._none_since = self._none_since or now
            if _ours(config) or now - self._none_since > SETTLE:
                self._check(said(ended))
                raise LostWorkersError(said(ended))

    def _check(self, why: str = "") -> None:
        before = f"{why}, and " if why else ""
        if time.time() >= self._limits.drains_at:
            raise OutOfTimeError("the time of this call is over")
        if self._left < 1:
            raise NoMoreWorkersError(f"{before}--max_jobs {self._limits.jobs} allows no other job")

    def _replace(self, config: "Config", block: "Block") -> None:
        key = block.label, block.job
        if key in self._replaced or not _ours(config):
            return
        self._replaced.add(key)
        if block.refused:
            _log.warning(f"{REFUSED}, and the others go on: {block.why}")
            return
        if self._left and time.time() < self._limits.drains_at:
            self._left -= 1
            _log.info(f"{said([block])}; another one is submitted")
            parsl_private.submit(config, block.label)


def said(ended: "list[Block]") -> str:
    """The end of jobs in words: which, how, and what is known of the reason."""
    states = {
        "MISSING": "ended before its workers could connect",
        "TIMEOUT": "reached its walltime",
        "CANCELLED": "was cancelled",
        "FAILED": "failed",
    }
    last = ended[-1]
    how = states.get(last.state, "has ended") + (f" ({last.why})" if last.why else "")
    if len(ended) == 1:
        return f"{last.job} {how}"
    return f"all {len(ended)} jobs have ended: the last one, {last.job}, {how}"


def _ours(config: "Config") -> bool:
    """Whether Parsl submits no jobs by itself."""
    return config.strategy in ("none", None)
