"""A worker starts no round for which the time is too short, and takes no task in vain."""

import time
from types import SimpleNamespace

import pytest

from dml.parallel import time_left as module
from dml.parallel.limits import Limits
from dml.parallel.time_left import TimeLeft


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    stand_in = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr(module, "time", stand_in)
    return clock


def test_without_an_end_there_is_always_time(clock: Clock) -> None:
    left = TimeLeft(Limits())
    clock.now = 1e12
    assert not left.over()


def test_a_minute_before_the_end_nothing_starts(clock: Clock) -> None:
    left = TimeLeft(Limits(ends_at=2000.0))
    clock.now = 1939.0
    assert not left.over()
    clock.now = 1940.0
    assert left.over()


def test_twice_the_longest_round_is_kept_free(clock: Clock) -> None:
    left = TimeLeft(Limits(ends_at=2000.0))
    left.start()
    for moment in (1200.0, 1210.0, 1310.0, 1320.0):  # The first is not timed, as it comes after the loading.
        clock.now = moment
        left.round_done()
    assert not left.over()
    clock.now = 1799.0
    assert not left.over()
    clock.now = 1800.0
    assert left.over()
    left.start()  # The next experiment of the same worker.
    assert left.over()


def test_what_comes_before_the_first_round_of_the_next_experiment_is_not_timed(clock: Clock) -> None:
    left = TimeLeft(Limits(ends_at=2000.0))
    for begun in (1000.0, 1500.0):
        left.start()
        for moment in (begun + 100.0, begun + 110.0):
            clock.now = moment
            left.round_done()
    clock.now = 1939.0
    assert not left.over(), "the longest round took 10 s"


def test_a_margin_of_the_users_counts_however_long_a_round_takes(clock: Clock) -> None:
    left = TimeLeft(Limits(ends_at=2000.0, margin=5.0))
    left.round_done()
    clock.now = 1994.0
    left.round_done()
    assert not left.over()
    clock.now = 1995.0
    assert left.over()


def test_a_worker_without_time_waits_until_its_pool_takes_no_tasks(clock: Clock) -> None:
    left = TimeLeft(Limits(ends_at=2000.0))
    clock.now = 1500.0
    left.wait_until_drained()
    assert 1940.0 < clock.now < 1943.0
    left.wait_until_drained()
    assert clock.now < 1943.0


def test_workers_are_told_through_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    end = time.time() + 30.125
    module.tell(Limits(ends_at=end, margin=10.0), environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    left = TimeLeft.as_told()
    assert left._limits == Limits(ends_at=end, margin=10.0)
    assert not left.over()
    module.tell(Limits(), environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert TimeLeft.as_told()._limits == Limits()
