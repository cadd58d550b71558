"""Whether a worker has the time for one more round before the job that holds it ends.

Each host's pool knows when its job ends, and tells its workers through their environment. So workers save
their work in time even if no signal reaches them: OpenPBS sends none to hosts other than the first.
"""

import os
import time
from collections.abc import MutableMapping

from dml.parallel.limits import Limits

_ENDS_AT, _MARGIN = "DML_ENDS_AT", "DML_MARGIN"


def tell(limits: Limits, environment: MutableMapping[str, str] = os.environ) -> None:
    """Tells the workers that are started with this environment when their time is over."""
    environment[_ENDS_AT] = repr(limits.ends_at)
    environment[_MARGIN] = "" if limits.margin is None else repr(limits.margin)


class TimeLeft:
    """The time that is left to this worker.

    Args:
        limits: the end of its job, and the margin.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._longest = limits, 0.0
        self._last: float | None = None

    @classmethod
    def as_told(cls) -> "TimeLeft":
        """By the environment of this process; no limit if nobody has told it."""
        ends_at, margin = os.environ.get(_ENDS_AT) or "inf", os.environ.get(_MARGIN)
        return cls(Limits(ends_at=float(ends_at), margin=float(margin) if margin else None))

    def start(self) -> None:
        """An experiment starts. Its first round is not timed, as its data are loaded first."""
        self._last = None

    def round_done(self) -> None:
        """One round is done, its measurement and its checkpoint included."""
        now = time.monotonic()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now

    def over(self) -> bool:
        """Whether there is no time for one more round and its checkpoint."""
        over = self._limits.drains_at
        if self._limits.margin is None:
            over = min(over, self._limits.ends_at - 2 * self._longest)
        return time.time() >= over

    def wait_until_drained(self) -> None:
        """Keeps this worker busy until its pool takes no more tasks, so that it is given none in vain."""
        while (left := self._limits.drains_at + 1 - time.time()) > 0:
            time.sleep(min(left, 1.0))
